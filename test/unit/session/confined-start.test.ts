import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { LaunchError } from '../../../src/engine/confined.ts';
import { openTarget } from '../../../src/session/engines/confined-start.ts';

const own = process.getuid!();

describe('the process whose time namespace an engine enters', () => {
  it('is the target of the request, and there is none without a target', () => {
    const pidfd = openTarget(process.pid, own);
    assert.match(readlinkSync(`/proc/self/fd/${pidfd!.number}`), /pidfd/);
    pidfd!.close();
    assert.equal(openTarget(undefined, own), undefined);
    assert.equal(openTarget(0, own), undefined);
    assert.equal(openTarget(-1, own), undefined);
  });

  it('must have the caller’s uid: another user’s looks the same as a process that has ended', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    const isGone = (error: unknown): boolean =>
      error instanceof LaunchError &&
      error.errno === constants.errno.ESRCH &&
      /has ended$/.test(error.message);
    assert.throws(() => openTarget(process.pid, own + 1), isGone);
    assert.throws(() => openTarget(child.pid, own), isGone);
  });
});
