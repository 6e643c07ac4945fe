/**
 * The fields of a message of any type, for rewriting a few of them: all others keep their bytes, also those that are newer than
 * this program.
 */
import { WireReader, WireType } from './wire.ts';

export interface WireField {
  readonly number: number;
  /** A number for a varint, bytes for a text or a message. */
  readonly value: number | Uint8Array;
  /** Tag and value as they were read. Absent in a field that was made here. */
  readonly raw?: Uint8Array;
}

/** @throws an error if the bytes are no message. */
export function readFields(bytes: Uint8Array): WireField[] {
  const reader = new WireReader(bytes);
  const fields: WireField[] = [];
  while (reader.more) {
    const start = reader.position;
    reader.varint('tag', 5);
    const number = reader.low >>> 3;
    const value = readValue(reader, reader.low & 7);
    fields.push({ number, value, raw: bytes.subarray(start, reader.position) });
  }
  return fields;
}

function readValue(reader: WireReader, wireType: number): number | Uint8Array {
  const bytes = (count: number): Uint8Array => {
    const start = reader.take(count);
    return reader.bytes.subarray(start, start + count);
  };
  switch (wireType) {
    case WireType.VARINT:
      reader.varint('value');
      return reader.low + reader.high * 2 ** 32;
    case WireType.BYTES:
      reader.varint('length', 5);
      return bytes(reader.low);
    case WireType.FIXED64:
      return bytes(8);
    case WireType.FIXED32:
      return bytes(4);
    default:
      throw new Error(`wire type ${wireType} has no length`);
  }
}

export function writeFields(fields: readonly WireField[]): Uint8Array {
  return Buffer.concat(
    fields.map(({ number, value, raw }) => {
      if (raw) return raw;
      if (typeof value === 'number') return Buffer.from([...varint(number * 8), ...varint(value)]);
      return Buffer.concat([
        Buffer.from([...varint(number * 8 + WireType.BYTES), ...varint(value.length)]),
        value,
      ]);
    }),
  );
}

/** Of a number below 2^53. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

/** The first number of a field, if there is one. */
export function numberOf(fields: readonly WireField[], number: number): number | undefined {
  const value = fields.find((field) => field.number === number)?.value;
  return typeof value === 'number' ? value : undefined;
}

/** The first bytes of a field, if there are any. */
export function bytesOf(fields: readonly WireField[], number: number): Uint8Array | undefined {
  const value = fields.find((field) => field.number === number)?.value;
  return typeof value === 'object' ? value : undefined;
}

/** The fields, with another value in each field of this number. */
export function withValue(
  fields: readonly WireField[],
  number: number,
  value: number | Uint8Array,
): WireField[] {
  return fields.map((field) => (field.number === number ? { number, value } : field));
}
