/**
 * An image as JSON, piece by piece, with the names that crit has: {"magic", "entries"}. Numbers above 2^53 are strings of digits,
 * bytes are base64 as in crit, and fields that no message here has are under "unknownFields" with their number and wire type.
 * Raw bytes behind a record are told by offset and size: they may be gigabytes.
 */
import { WireType } from '../protocol/wire.ts';
import type { ImageFile, ImageRecord } from './image-file.ts';
import { escapeUnprintable } from './json-text.ts';
import { bigintAt, type FieldReader, Message, packed, textOf } from './message.ts';
import type { Field } from './schema.ts';

/** Takes a piece of the text. */
export type Write = (text: string) => void;

/** @throws ImageError, after pieces were written: the text is no JSON then. */
export function decode(image: ImageFile, write: Write): void {
  write(`{"magic":${JSON.stringify(image.kind.name)},"entries":[`);
  let separator = '\n';
  for (const record of image.records()) {
    write(separator);
    writeRecord(record, write);
    separator = ',\n';
  }
  write('\n]}\n');
}

/** A record as JSON; it has at most some times the bytes of the record. */
export function recordText(record: ImageRecord): string {
  const pieces: string[] = [];
  writeRecord(record, (text) => pieces.push(text));
  return pieces.join('');
}

function writeRecord({ message, payload }: ImageRecord, write: Write): void {
  writeMessage(message, write, payload && { offset: payload.offset, bytes: payload.bytes });
}

function writeMessage(message: Message, write: Write, payload?: object): void {
  let separator = '{';
  const key = (name: string): void => {
    write(`${separator}${JSON.stringify(name)}:`);
    separator = ',';
  };
  const { extents, unknown } = survey(message);
  for (const [field, extent] of extents) {
    key(field.name);
    writeField(message, field, extent, write);
  }
  if (unknown > 0) {
    key('unknownFields');
    writeUnknown(message, write);
  }
  if (payload) {
    key('payload');
    write(JSON.stringify(payload));
  }
  write(separator === '{' ? '{}' : '}');
}

/** The part of a message in which a field occurs. */
interface Extent {
  first: number;
  last: number;
}

/** Fields may be in any order, and repeated fields in pieces. */
function survey(message: Message): { extents: ReadonlyMap<Field, Extent>; unknown: number } {
  const extents = new Map<Field, Extent>();
  let unknown = 0;
  for (const reader = message.fields(); reader.next(); ) {
    const field = message.type.byNumber.get(reader.number);
    const extent = field && extents.get(field);
    if (!field) unknown += 1;
    else if (extent) extent.last = reader.at;
    else extents.set(field, { first: reader.at, last: reader.at });
  }
  return { extents, unknown };
}

function writeField(message: Message, field: Field, { first, last }: Extent, write: Write): void {
  const repeated = field.label === 'repeated';
  const reader = new Message(message.type, message.bytes, repeated ? first : last, message.end).fields();
  if (!repeated) {
    reader.next();
    writeValue(reader, field, write);
    return;
  }
  let separator = '[';
  while (reader.next() && reader.at <= last) {
    if (reader.number !== field.number) continue;
    const isPacked = reader.wireType === WireType.BYTES && isNumber(field);
    for (const each of isPacked ? valuesOf(reader, field) : [reader]) {
      write(separator);
      writeValue(each, field, write);
      separator = ',';
    }
  }
  write(separator === '[' ? '[]' : ']');
}

function* valuesOf(reader: FieldReader, field: Field): Generator<FieldReader> {
  for (const each = packed(reader, field); each.nextValue(); ) yield each;
}

function isNumber({ content }: Field): boolean {
  return !['message', 'string', 'bytes'].includes(content.is);
}

function writeValue(reader: FieldReader, field: Field, write: Write): void {
  const { content } = field;
  const bytes = reader.bytes.subarray(reader.from, reader.to);
  switch (content.is) {
    case 'message':
      writeMessage(new Message(content.message, reader.bytes, reader.from, reader.to), write);
      break;
    case 'string':
      write(escapeUnprintable(JSON.stringify(textOf(bytes))));
      break;
    case 'bytes':
      write(`"${base64(bytes)}"`);
      break;
    case 'bool':
      write(bigintAt(reader, field) === 0n ? 'false' : 'true');
      break;
    case 'enum': {
      const number = Number(bigintAt(reader, field));
      write(JSON.stringify(content.names.get(number) ?? number));
      break;
    }
    default:
      write(numeral(bigintAt(reader, field)));
  }
}

/** JSON's numbers are read as doubles, which are exact up to 2^53. */
function numeral(value: bigint): string {
  const exact = BigInt.asIntN(54, value) === value;
  return exact ? `${value}` : `"${value}"`;
}

function writeUnknown(message: Message, write: Write): void {
  let separator = '[';
  for (const reader = message.fields(); reader.next(); ) {
    const { number, wireType } = reader;
    if (message.type.byNumber.has(number)) continue;
    const value =
      wireType === WireType.BYTES
        ? `"${base64(reader.bytes.subarray(reader.from, reader.to))}"`
        : numeral(bigintAt(reader, { content: { is: 'uint64' } }));
    write(`${separator}{"number":${number},"wireType":${wireType},"value":${value}}`);
    separator = ',';
  }
  write(']');
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}
