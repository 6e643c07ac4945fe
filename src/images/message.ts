/**
 * A message of an image, read where it lies: no object is made for it, so that a message of a million fields takes no more memory
 * than its bytes. Each access reads the message from its beginning. As in CRIU, a later value of a field replaces an earlier one.
 */
import { WireError, WireReader, WireType } from '../protocol/wire.ts';
import type { Field, MessageType } from './schema.ts';

/** PATH_MAX of limits.h: no text of CRIU is longer. The rest of a longer text is left out. */
const mostTextBytes = 4096;

/** Deeper messages are refused; only directories of cgroups contain themselves. */
export const mostLevels = 64;

/** Stops at each field of a message: its number and wire type, and where its value lies. */
export class FieldReader extends WireReader {
  number = 0;
  wireType = 0;
  /** The value of a varint is in `low` and `high`; other values begin and end here. */
  from = 0;
  to = 0;
  /** Where the field begins. */
  at = 0;

  /** @throws WireError */
  next(): boolean {
    if (!this.more) return false;
    this.at = this.position;
    this.varint('tag', 5);
    this.wireType = this.low & 7;
    this.number = this.low >>> 3;
    if (this.number === 0) throw new WireError('is the tag of field 0', this.at);
    switch (this.wireType) {
      case WireType.VARINT:
        this.from = this.position;
        this.varint('value');
        break;
      case WireType.FIXED64:
        this.from = this.take(8);
        break;
      case WireType.FIXED32:
        this.from = this.take(4);
        break;
      case WireType.BYTES: {
        this.varint('length');
        if (this.high !== 0) throw new WireError('has an impossible length', this.at);
        this.from = this.take(this.low);
        break;
      }
      default:
        throw new WireError(`has the wire type ${this.wireType}, which CRIU does not use`, this.at);
    }
    this.to = this.position;
    return true;
  }
}

export class Message {
  readonly type: MessageType;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;

  constructor(type: MessageType, bytes: Uint8Array, start = 0, end = bytes.length) {
    this.type = type;
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  /** Valid also when the next record is read. */
  copy(): Message {
    return new Message(this.type, Uint8Array.from(this.bytes.subarray(this.start, this.end)));
  }

  fields(): FieldReader {
    return new FieldReader(this.bytes, this.start, this.end);
  }

  has(name: string): boolean {
    return this.#last(name) !== undefined;
  }

  /** A number below 2^53, exactly; or its nearest number. */
  number(name: string): number | undefined {
    const reader = this.#last(name);
    return reader && numberAt(reader, this.#field(name));
  }

  bigint(name: string): bigint | undefined {
    const reader = this.#last(name);
    return reader && bigintAt(reader, this.#field(name));
  }

  bool(name: string): boolean {
    return (this.number(name) ?? 0) !== 0;
  }

  /** @param most bytes; of a longer text the beginning. */
  text(name: string, most = mostTextBytes): string | undefined {
    const bytes = this.data(name);
    return bytes && textOf(bytes.subarray(0, most));
  }

  data(name: string): Uint8Array | undefined {
    const reader = this.#last(name);
    return reader && this.bytes.subarray(reader.from, reader.to);
  }

  message(name: string): Message | undefined {
    const reader = this.#last(name);
    return reader && this.#inner(this.#field(name), reader);
  }

  *messages(name: string): Generator<Message> {
    const field = this.#field(name);
    for (const reader = this.fields(); reader.next(); ) {
      if (reader.number === field.number) yield this.#inner(field, reader);
    }
  }

  /** Values of a repeated number, in the packed and in the plain spelling. */
  *numbers(name: string): Generator<number> {
    const field = this.#field(name);
    for (const reader = this.fields(); reader.next(); ) {
      if (reader.number !== field.number) continue;
      if (reader.wireType !== WireType.BYTES) yield numberAt(reader, field);
      else for (const each = packed(reader, field); each.nextValue(); ) yield numberAt(each, field);
    }
  }

  #field(name: string): Field {
    const field = this.type.byName.get(name);
    if (!field) throw new Error(`proto/images/ has no field ${this.type.name}.${name}`);
    return field;
  }

  #inner({ content }: Field, { from, to }: FieldReader): Message {
    if (content.is !== 'message') throw new Error(`${this.type.name} has no such message`);
    return new Message(content.message, this.bytes, from, to);
  }

  /** Stands at the last occurrence. */
  #last(name: string): FieldReader | undefined {
    const { number } = this.#field(name);
    let found: number | undefined;
    for (const reader = this.fields(); reader.next(); ) if (reader.number === number) found = reader.at;
    if (found === undefined) return undefined;
    const reader = new FieldReader(this.bytes, found, this.end);
    reader.next();
    return reader;
  }
}

/** Values of a packed field, one after the other. */
export class PackedReader extends FieldReader {
  constructor(bytes: Uint8Array, from: number, to: number, wireType: number) {
    super(bytes, from, to);
    this.wireType = wireType;
  }

  nextValue(): boolean {
    if (!this.more) return false;
    this.at = this.position;
    if (this.wireType === WireType.VARINT) this.varint('value');
    else this.from = this.take(this.wireType === WireType.FIXED64 ? 8 : 4);
    return true;
  }
}

export function packed({ bytes, from, to }: FieldReader, field: Field): PackedReader {
  return new PackedReader(bytes, from, to, wireTypeOf(field));
}

export function wireTypeOf({ content }: Field): number {
  switch (content.is) {
    case 'message':
    case 'string':
    case 'bytes':
      return WireType.BYTES;
    case 'fixed32':
      return WireType.FIXED32;
    case 'fixed64':
      return WireType.FIXED64;
    default:
      return WireType.VARINT;
  }
}

/** The value where a reader stands. */
export function bigintAt(reader: FieldReader, { content }: Pick<Field, 'content'>): bigint {
  const { wireType, bytes, from } = reader;
  if (wireType !== WireType.VARINT) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + from, wireType === WireType.FIXED64 ? 8 : 4);
    return wireType === WireType.FIXED64 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
  }
  const value = (BigInt(reader.high) << 32n) | BigInt(reader.low);
  switch (content.is) {
    case 'int64':
      return BigInt.asIntN(64, value);
    case 'int32':
    case 'enum':
      return BigInt.asIntN(32, value);
    case 'uint32':
      return BigInt(reader.low);
    case 'sint32':
    case 'sint64':
      return (value >> 1n) ^ -(value & 1n);
    case 'bool':
      return value === 0n ? 0n : 1n;
    default:
      return value;
  }
}

export function numberAt(reader: FieldReader, field: Pick<Field, 'content'>): number {
  const { is } = field.content;
  // The usual case, without a bigint.
  if (reader.wireType === WireType.VARINT && (is === 'uint32' || (is === 'uint64' && reader.high < 0x200000)))
    return is === 'uint32' ? reader.low : reader.high * 0x100000000 + reader.low;
  return Number(bigintAt(reader, field));
}

/** Bytes as text; each byte that is no UTF-8 becomes the replacement character. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}
