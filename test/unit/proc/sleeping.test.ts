import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { isSleepOn, sleepsOn, unlessEnded } from '../../../src/proc/sleeping.ts';
import { eventually } from '../../scenario/support/service.ts';

const sleeps = 'Name:\tcriu\nState:\tS (sleeping)\n';
const stopped = 'Name:\tcriu\nState:\tT (stopped)\n';
/** recvfrom(2) on x86-64. */
const reads = '45 0x3 0x0 0x0 0x22 0x0 0x0 0x7ffd3a8c6a30 0x7f2e3c5f0a2a\n';

describe('isSleepOn', () => {
  it('is true for a process that sleeps in a call on this descriptor', () => {
    assert.equal(isSleepOn(reads, sleeps, 3), true);
  });

  it('is false for any other process: running, stopped there, or sleeping in another call', () => {
    assert.equal(isSleepOn('running\n', sleeps, 3), false);
    assert.equal(isSleepOn(reads, stopped, 3), false);
    assert.equal(isSleepOn(reads.replace('0x3 ', '0x30 '), sleeps, 3), false);
    assert.equal(isSleepOn('61 0xffffffff 0x3 0x0 0x0 0x0 0x0 0x7ffd 0x7f2e\n', sleeps, 3), false);
    assert.equal(isSleepOn('-1 0x7ffd3a8c6a30 0x7f2e3c5f0a2a\n', sleeps, 3), false);
  });
});

describe('sleepsOn', () => {
  it('is true for a process that reads, and false after its exit, reaped or not', async () => {
    const child = spawn('/bin/cat', { stdio: ['pipe', 'ignore', 'ignore'] });
    const pid = child.pid!;
    await eventually('it reads', () => sleepsOn(pid, 0) === true);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    // The child stays a zombie until this function returns.
    while (!readFileSync(`/proc/${pid}/status`, 'latin1').includes('State:\tZ'));
    assert.equal(sleepsOn(pid, 0), false);
    await ended;
    assert.equal(sleepsOn(pid, 0), false);
  });
});

describe('unlessEnded', () => {
  it('is false after the exit of a process, and undefined if it must not be read', () => {
    assert.deepEqual(['ENOENT', 'ESRCH'].map(unlessEnded), [false, false]);
    assert.deepEqual(['EPERM', 'EACCES', 'EMFILE', undefined].map(unlessEnded), Array(4).fill(undefined));
  });
});
