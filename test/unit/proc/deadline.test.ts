import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { startDeadline, within } from '../../../src/proc/deadline.ts';

/** Stops this process, as its machine may: no event is handled meanwhile. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('a deadline', () => {
  const never = new Promise<string>(() => {});

  it('gives the result of work that is done before', async () => {
    assert.equal(await within(60_000, Promise.resolve('done'), assert.fail), 'done');
    await assert.rejects(
      within(60_000, Promise.reject(new Error('it failed')), () => {}),
      /it failed/,
    );
  });

  it('gives what there is instead of work that is late, or fails', async () => {
    assert.equal(await within(20, never, () => 'late'), 'late');
    await assert.rejects(
      within(600, never, () => {
        throw new Error('too late');
      }),
      /too late/,
    );
  });

  for (const ms of [20, 600])
    it(`of ${ms} ms finds work in time that was done while the process stood still`, async () => {
      const work = stat('/proc/self').then(() => 'done');
      standStill(ms + 500);
      assert.equal(await within(ms, work, () => 'late'), 'done');
    });

  it('finds work in time that was done while the process stood still after the deadline had begun', async () => {
    const work = stat('/proc/self').then(() => 'done');
    const result = within(50, work, () => 'late');
    standStill(1000);
    assert.equal(await result, 'done');
  });

  it('counts a standstill as a single step', async () => {
    const steps: string[] = [];
    startDeadline(600, () => steps.push('late'));
    standStill(2000);
    await new Promise((resolve) => setTimeout(resolve, 0));
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(steps, []);
  });

  it('calls nothing after its end', async () => {
    const steps: string[] = [];
    const stop = startDeadline(10, () => steps.push('late'));
    stop();
    await within(100, never, () => '');
    assert.deepEqual(steps, []);
  });
});
