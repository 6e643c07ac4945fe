import { strict as assert } from 'node:assert';
import { constants } from 'node:os';
import { explainGrant } from '../../../src/engine/grant.ts';
import {
  decodeGrantAnswer,
  encodeGrantParameters,
  type GrantAnswer,
  grantAnswerBytes,
  grantFaults,
} from '../../../src/engine/grant-protocol.ts';

const { EAGAIN, EINVAL, EPERM, ESRCH } = constants.errno;

const parameters = {
  needsRelation: true,
  engine: 11,
  caller: 12,
  root: 13,
  uid: 1500,
  gid: 1501,
  permitted: 1n << 40n,
};

const answer: GrantAnswer = { fault: 'none', related: 'descendant', pid: 0, error: 0, named: 3, before: 1 };

function words(...numbers: readonly number[]): Buffer {
  const packet = Buffer.alloc(grantAnswerBytes);
  for (const [at, number] of numbers.entries()) packet.writeUInt32LE(number, at * 4);
  return packet;
}

describe('the packets of criu-grant', () => {
  it('have the layout of native/grant/protocol.h', () => {
    const packet = encodeGrantParameters(parameters);
    assert.equal(packet.length, 40);
    assert.deepEqual(
      Array.from({ length: 8 }, (_, at) => packet.readUInt32LE(at * 4)),
      [0x41525943, 2, 1, 11, 12, 13, 1500, 1501],
    );
    assert.equal(packet.readBigUInt64LE(32), 1n << 40n);
    assert.equal(encodeGrantParameters({ ...parameters, needsRelation: false }).readUInt32LE(8), 0);
    assert.deepEqual(decodeGrantAnswer(words(0x41525943, 2, 0, 2, 0, 0, 3, 1)), answer);
  });

  it('hold no other values, and come from no other version', () => {
    assert.throws(() => encodeGrantParameters({ ...parameters, root: -1 }), /root must be/);
    assert.throws(() => encodeGrantParameters({ ...parameters, permitted: 1n << 64n }), /permitted must be/);
    for (const wrong of [
      words(0x41525943, 1, 0, 2, 0, 0, 3, 1),
      words(0x41525944, 2, 0, 2, 0, 0, 3, 1),
      words(0x41525943, 2, grantFaults.length, 2, 0, 0, 3, 1),
      words(0x41525943, 2, 0, 4, 0, 0, 3, 1),
      Buffer.alloc(grantAnswerBytes + 1),
    ]) {
      assert.throws(() => decodeGrantAnswer(wrong), RangeError);
    }
  });
});

describe('a refusal of criu-grant', () => {
  it('is a sentence with the process and a positive errno, for every fault', () => {
    assert.equal(explainGrant(answer, 13), undefined);
    for (const fault of grantFaults.slice(1)) {
      const { errno, reason } = explainGrant({ ...answer, fault, pid: 14, error: EINVAL }, 13)!;
      assert.ok(errno > 0);
      assert.doesNotMatch(reason, /undefined/);
      if (['no-consent', 'too-many'].includes(fault)) assert.match(reason, /process 13/);
      else if (!['self', 'parameters', 'asker-ended'].includes(fault)) assert.match(reason, /process 14/);
    }
  });

  it('lets its caller ask again where that can help', () => {
    const errnoOf = (fault: GrantAnswer['fault']): number => explainGrant({ ...answer, fault }, 13)!.errno;
    assert.deepEqual(
      ['late', 'too-many', 'disturbed', 'asker-ended'].map((each) => errnoOf(each as never)),
      [EAGAIN, EAGAIN, EAGAIN, EAGAIN],
    );
    assert.deepEqual([errnoOf('gone'), errnoOf('no-consent'), errnoOf('seccomp')], [ESRCH, EPERM, EPERM]);
  });
});
