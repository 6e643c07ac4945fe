/**
 * CRIU's image `timens-0.img`: what CLOCK_MONOTONIC and CLOCK_BOOTTIME were at a dump. Whoever restores has written the file, so
 * exactly the bytes that CRIU writes are accepted: two magic numbers, the length of the message, and two times of two fields
 * each, in their order and in the shortest spelling. Pure. Numbers outside the message are in the machine's byte order.
 */
import { endianness } from 'node:os';
import { WireError, WireReader, WireType } from './wire.ts';

/** A moment on a clock, or the distance of two moments: `nanoseconds` is below a second, also beside negative seconds. */
export interface ClockTime {
  readonly seconds: bigint;
  readonly nanoseconds: bigint;
}

export interface Clocks {
  readonly monotonic: ClockTime;
  readonly boottime: ClockTime;
}

/** IMG_COMMON_MAGIC and TIMENS_MAGIC of CRIU's magic.h. */
const magic = [0x54564319, 0x43114433];
const littleEndian = endianness() === 'LE';
const headBytes = 12;

/** @returns the clocks, or a sentence's end about the fault. */
export function decodeClocksImage(bytes: Uint8Array): Clocks | string {
  if (bytes.length < headBytes) return `ends after ${bytes.length} bytes`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (magic.some((word, at) => view.getUint32(at * 4, littleEndian) !== word))
    return 'does not begin as CRIU begins it';
  const size = view.getUint32(8, littleEndian);
  if (size !== bytes.length - headBytes) {
    return `announces ${size} bytes and has ${bytes.length - headBytes}`;
  }
  try {
    const reader = new WireReader(bytes, headBytes);
    const clocks = { monotonic: readTime(reader, 1), boottime: readTime(reader, 2) };
    return reader.more ? 'has more than two clocks' : clocks;
  } catch (error) {
    if (error instanceof WireError) return error.message;
    throw error;
  }
}

function readTime(reader: WireReader, field: number): ClockTime {
  readTag(reader, field, WireType.BYTES);
  readMinimal(reader, 'length');
  if (reader.high !== 0) throw new WireError('has an impossible length', reader.position);
  const size = reader.low;
  const start = reader.take(size);
  const inner = new WireReader(reader.bytes, start, start + size);
  const time = { seconds: readNumber(inner, 1), nanoseconds: readNumber(inner, 2) };
  if (inner.more) throw new WireError('is a third number of a clock', inner.position);
  return time;
}

function readNumber(reader: WireReader, field: number): bigint {
  readTag(reader, field, WireType.VARINT);
  readMinimal(reader, 'value');
  return (BigInt(reader.high) << 32n) | BigInt(reader.low);
}

function readTag(reader: WireReader, field: number, wireType: number): void {
  const at = reader.position;
  readMinimal(reader, 'tag');
  if (reader.high !== 0 || reader.low !== ((field << 3) | wireType)) {
    throw new WireError(`is not the tag of field ${field}`, at);
  }
}

function readMinimal(reader: WireReader, what: string): void {
  const at = reader.position;
  reader.varint(what);
  if (!reader.minimal) throw new WireError(`has a ${what} in a longer spelling than CRIU's`, at);
}
