/** Changes images at random: their bytes, or their messages, with lengths that are right again afterwards. */
import { FieldReader } from '../../src/images/message.ts';
import { WireError, WireType } from '../../src/protocol/wire.ts';

export type Next = () => number;

const interesting = [
  0n,
  1n,
  127n,
  128n,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  1n << 40n,
  1n << 53n,
  (1n << 64n) - 1n,
];

export function pick<T>(items: readonly T[], next: Next): T {
  return items[Math.floor(next() * items.length)]!;
}

export function mutateBytes(bytes: Buffer, next: Next): Buffer {
  const at = Math.floor(next() * (bytes.length + 1));
  const changed = Buffer.from(bytes);
  switch (Math.floor(next() * 5)) {
    case 0:
      return changed.subarray(0, at);
    case 1:
      if (at < changed.length) changed[at]! ^= 1 << Math.floor(next() * 8);
      return changed;
    case 2:
      // A length, a count or a magic number.
      if (at + 4 <= changed.length)
        changed.writeUInt32LE(Number(BigInt.asUintN(32, pick(interesting, next))), at);
      return changed;
    case 3:
      return Buffer.concat([changed.subarray(0, at), Buffer.from([next() * 256]), changed.subarray(at)]);
    default:
      return Buffer.concat([changed, changed.subarray(at)]);
  }
}

/** Two magic numbers, or that of an inventory. */
const headBytes = (bytes: Buffer): number =>
  bytes.length >= 4 && bytes.readUInt32LE(0) === 0x58313116 ? 4 : 8;

/** Changes a field of a record among the first 200; of an image that has no records, its bytes. */
export function mutateRecord(bytes: Buffer, next: Next): Buffer {
  const places: number[] = [];
  for (let at = headBytes(bytes); at + 4 <= bytes.length && places.length < 200; ) {
    const size = bytes.readUInt32LE(at);
    if (at + 4 + size > bytes.length) break;
    places.push(at);
    at += 4 + size;
  }
  if (places.length === 0) return mutateBytes(bytes, next);
  const at = pick(places, next);
  const end = at + 4 + bytes.readUInt32LE(at);
  const message = mutateMessage(bytes.subarray(at + 4, end), next, 0);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(message.length);
  return Buffer.concat([bytes.subarray(0, at), size, message, bytes.subarray(end)]);
}

function mutateMessage(bytes: Buffer, next: Next, level: number): Buffer {
  const fields = fieldsIn(bytes);
  if (!fields || fields.length === 0) return mutateBytes(bytes, next);
  const { at, from, to, wireType } = pick(fields, next);
  const field = bytes.subarray(at, to);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(to)];
  switch (Math.floor(next() * 4)) {
    case 0:
      return Buffer.concat([before, after]);
    case 1:
      return Buffer.concat([before, ...Array<Buffer>(1 + Math.floor(next() ** 4 * 2000)).fill(field), after]);
    default: {
      const tag = tagOf(bytes, at);
      if (wireType === WireType.BYTES) {
        const inner = mutateMessage(bytes.subarray(from, to), next, level + 1);
        return Buffer.concat([before, tag, varint(BigInt(inner.length)), inner, after]);
      }
      if (wireType === WireType.VARINT)
        return Buffer.concat([before, tag, varint(pick(interesting, next)), after]);
      return Buffer.concat([before, mutateBytes(field, next), after]);
    }
  }
}

/** @returns undefined if the bytes are no message. */
function fieldsIn(bytes: Buffer): { at: number; from: number; to: number; wireType: number }[] | undefined {
  const found: { at: number; from: number; to: number; wireType: number }[] = [];
  try {
    for (const reader = new FieldReader(bytes); reader.next() && found.length < 500; )
      found.push({ at: reader.at, from: reader.from, to: reader.to, wireType: reader.wireType });
    return found;
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

function tagOf(bytes: Buffer, at: number): Buffer {
  let end = at;
  while ((bytes[end]! & 0x80) !== 0) end += 1;
  return bytes.subarray(at, end + 1);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left >>= 7n) {
    if (left < 128n) return Buffer.from([...bytes, Number(left)]);
    bytes.push(Number(left & 127n) | 128);
  }
}
