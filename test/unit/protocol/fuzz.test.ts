/** Malformed bytes, made from honest packets. CRIU_FUZZ_SEED and CRIU_FUZZ_COUNT choose others. */

import assert from 'node:assert/strict';
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from '../../../src/protocol/codec.ts';
import { fitReply } from '../../../src/protocol/replies.ts';
import { scanRequest, scanResponse } from '../../../src/protocol/strict.ts';
import { requests, responses } from './samples.ts';
import { seeded } from './wire-bytes.ts';

const seed = Number(process.env.CRIU_FUZZ_SEED ?? 2013);
const count = Number(process.env.CRIU_FUZZ_COUNT ?? 20_000);

type Random = (limit: number) => number;

describe(`fuzzing the protocol (seed ${seed}, ${count} packets each)`, () => {
  it('a request that passes the strict scan has one reading, and no packet makes anything throw', () => {
    const random = seeded(seed);
    const honest = requests.map(encodeRequest);
    let passed = 0;
    for (let round = 0; round < count; round++) {
      const bytes = mutated(honest, random);
      const hex = bytes.toString('hex');
      const lenient = decodeRequest(bytes, 'lenient');
      const strict = decodeRequest(bytes, 'strict');
      assert.equal(strict.kind === 'request', scanRequest(bytes).ok, hex);
      if (strict.kind === 'malformed') continue;

      passed++;
      assert.deepEqual(lenient, strict, `CRIU reads it differently: ${hex}`);
      const again = encodeRequest(strict.message);
      assert.deepEqual(decodeRequest(again, 'strict'), strict, hex);
      assert.deepEqual(encodeRequest(strict.message), again, hex);
    }
    // Without enough such packets the guarantee would be about next to nothing.
    assert.ok(passed > count / 20, `only ${passed} packets passed`);
  });

  it('responses that pass have one reading, and no packet makes anything throw', () => {
    const random = seeded(seed + 1);
    const honest = responses.map(encodeResponse);
    let passed = 0;
    for (let round = 0; round < count; round++) {
      const bytes = mutated(honest, random);
      const strict = decodeResponse(bytes, 'strict');
      assert.equal(strict.kind === 'response', scanResponse(bytes).ok);
      const lenient = decodeResponse(bytes, 'lenient');
      if (strict.kind === 'malformed') continue;

      passed++;
      assert.deepEqual(lenient, strict, bytes.toString('hex'));
      assert.deepEqual(
        decodeResponse(encodeResponse(strict.message), 'strict'),
        strict,
        bytes.toString('hex'),
      );
    }
    assert.ok(passed > count / 20, `only ${passed} packets passed`);
  });

  it('noise is refused or read, and never makes anything throw', () => {
    const random = seeded(seed + 2);
    for (let round = 0; round < count; round++) {
      const bytes = Buffer.from(Array.from({ length: random(40) }, () => random(256)));
      decodeRequest(bytes, 'strict');
      decodeRequest(bytes, 'lenient');
      decodeResponse(bytes, 'strict');
      decodeResponse(bytes, 'lenient');
      fitReply(bytes);
    }
  });
});

/** An honest packet after one to three mutations. */
function mutated(honest: readonly Buffer[], random: Random): Buffer {
  let bytes = honest[random(honest.length)]!;
  for (let left = 1 + random(3); left > 0; left--) bytes = mishap(bytes, honest, random);
  return bytes;
}

function mishap(bytes: Buffer, honest: readonly Buffer[], random: Random): Buffer {
  const at = random(bytes.length + 1);
  const size = random(6);
  const before = bytes.subarray(0, at);
  const after = bytes.subarray(at);
  switch (random(6)) {
    case 0: {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy[at] = random(256);
      return copy;
    }
    case 1: {
      const copy = Buffer.from(bytes);
      if (at < copy.length) copy[at]! ^= 1 << random(8);
      return copy;
    }
    case 2:
      return Buffer.concat([before, Buffer.from(Array.from({ length: size }, () => random(256))), after]);
    case 3:
      return Buffer.concat([before, after.subarray(size)]);
    case 4:
      return Buffer.concat([before, after.subarray(0, size), after]);
    default: {
      const other = honest[random(honest.length)]!;
      const from = random(other.length);
      return Buffer.concat([before, other.subarray(from, from + size), after]);
    }
  }
}
