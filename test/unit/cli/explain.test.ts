/** Failures in words. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { exitCodes } from '../../../src/cli/exit-codes.ts';
import { explain } from '../../../src/cli/explain.ts';
import type { Invocation } from '../../../src/cli/invocation.ts';

const invocation = (signal: AbortSignal): Invocation => ({ verb: 'wait', signal }) as Invocation;

describe('a criuctl that is interrupted', () => {
  for (const [when, fails] of [
    ['while it waits', (signal: AbortSignal) => delay(60_000, undefined, { signal })],
    [
      'between two steps',
      async (signal: AbortSignal) => {
        await Promise.resolve();
        signal.throwIfAborted();
      },
    ],
  ] as const)
    it(`${when} says so, and is no fault of criuctl`, async () => {
      const abort = new AbortController();
      const failing = fails(abort.signal).then(
        () => undefined,
        (error: unknown) => error,
      );
      abort.abort('SIGTERM');
      const error = await failing;
      const { exitCode, message, code } = await explain(error, invocation(abort.signal));
      assert.deepEqual([exitCode, message, code], [exitCodes.interrupted, 'Interrupted', 'ABORTED']);
    });

  it('and fails by itself at the same moment is a fault', async () => {
    const abort = new AbortController();
    abort.abort('SIGTERM');
    const { exitCode, code } = await explain(new TypeError('wrong'), invocation(abort.signal));
    assert.deepEqual([exitCode, code], [exitCodes.failed, 'FAULT']);
  });
});
