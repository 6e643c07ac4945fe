/** Protobuf bytes by hand: written here anew, so that the tests do not depend on the code under test. */

/** The shortest varint of a number; `padding` appends that many bytes that add nothing. */
export function varint(value: number | bigint, padding = 0): number[] {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    bytes.push(Number(rest & 0x7fn));
    rest >>= 7n;
  } while (rest > 0n);
  for (let count = 0; count < padding; count++) bytes.push(0);
  return bytes.map((byte, index) => (index < bytes.length - 1 ? byte | 0x80 : byte));
}

export function tag(number: number, wireType: number): number[] {
  return varint((BigInt(number) << 3n) | BigInt(wireType));
}

/** A field with a varint. */
export function num(number: number, value: number | bigint): number[] {
  return [...tag(number, 0), ...varint(value)];
}

/** A field with a length in front: a string, or the bytes of a message. */
export function len(number: number, content: string | readonly number[]): number[] {
  const bytes = typeof content === 'string' ? [...Buffer.from(content)] : content;
  return [...tag(number, 2), ...varint(bytes.length), ...bytes];
}

export function packet(...parts: readonly (readonly number[])[]): Buffer {
  return Buffer.from(parts.flat());
}

/** A generator of numbers below `limit` that gives the same numbers for the same seed (mulberry32). */
export function seeded(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}
