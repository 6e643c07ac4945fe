import assert from 'node:assert/strict';
import { isSleepOn, sleepsOn } from '../../../src/engine/sleeping.ts';

const sleeps = 'Name:\tcriu\nState:\tS (sleeping)\n';
const stopped = 'Name:\tcriu\nState:\tT (stopped)\n';
/** recvfrom(2) on x86-64. */
const reads = '45 0x3 0x0 0x0 0x22 0x0 0x0 0x7ffd3a8c6a30 0x7f2e3c5f0a2a\n';

describe('isSleepOn', () => {
  it('is true for a process that sleeps in a call on this descriptor', () => {
    assert.equal(isSleepOn(reads, sleeps, 3), true);
  });

  it('is false for any other: one that runs, was stopped there, or sleeps in something else', () => {
    assert.equal(isSleepOn('running\n', sleeps, 3), false);
    assert.equal(isSleepOn(reads, stopped, 3), false);
    assert.equal(isSleepOn(reads.replace('0x3 ', '0x30 '), sleeps, 3), false);
    assert.equal(isSleepOn('61 0xffffffff 0x3 0x0 0x0 0x0 0x0 0x7ffd 0x7f2e\n', sleeps, 3), false);
    assert.equal(isSleepOn('-1 0x7ffd3a8c6a30 0x7f2e3c5f0a2a\n', sleeps, 3), false);
  });
});

describe('sleepsOn', () => {
  it('is false where nothing is known', () => {
    assert.equal(sleepsOn(0, 3), false);
  });
});
