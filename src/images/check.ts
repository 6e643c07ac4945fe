/** Would CRIU read this message? Its decoder refuses bytes that are no protobuf, values of another kind, and absent required fields. */
import { WireError, WireType, wireTypeName } from '../protocol/wire.ts';
import { Message, mostLevels, packed, wireTypeOf } from './message.ts';

/** CRIU might read this. */
export class TooDeepError extends WireError {}

/** @throws WireError */
export function checkMessage(message: Message, level = 0): void {
  const { type } = message;
  if (level > mostLevels)
    throw new TooDeepError(`is a message in more than ${mostLevels} others`, message.start);
  // A bit for each required field: the first 32, and the others.
  let first = 0;
  let others = 0;
  for (const reader = message.fields(); reader.next(); ) {
    const field = type.byNumber.get(reader.number);
    if (!field) continue;
    const wanted = wireTypeOf(field);
    const isPacked =
      field.label === 'repeated' && reader.wireType === WireType.BYTES && wanted !== WireType.BYTES;
    if (isPacked) for (const each = packed(reader, field); each.nextValue(); );
    else if (reader.wireType !== wanted) {
      throw new WireError(
        `has ${type.name}.${field.name} as ${wireTypeName(reader.wireType)} instead of ${wireTypeName(wanted)}`,
        reader.at,
      );
    }
    if (field.label === 'required') {
      if (field.nth < 32) first |= 1 << field.nth;
      else others |= 1 << (field.nth - 32);
    }
    if (field.content.is === 'message')
      checkMessage(new Message(field.content.message, message.bytes, reader.from, reader.to), level + 1);
  }
  for (const { name, nth } of type.required) {
    if (((nth < 32 ? first : others) & (1 << (nth % 32))) === 0)
      throw new WireError(`begins a ${type.name} without its ${name}`, message.start);
  }
}
