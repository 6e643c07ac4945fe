/** Jobs in the foreground, as batch systems have them. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { it } from '../hostile/support/guarantee.ts';
import { eventually, run } from './support/bench.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';

const exited = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', resolve));

describe('a job in the foreground', () => {
  withJobsOf('alice');

  it('that is ended by a signal of its batch system goes on from its last checkpoint with the same command', async () => {
    const job = new TestJob('alice', true);
    const command = ['--foreground', '--on-signal', 'USR2', '--every', '1s', ...job.steps(9)];
    const stays = job.start('run', ...command);
    const end = exited(stays);
    await eventually('it writes', () => job.lines > 3);
    await eventually('it has a checkpoint', () => (job.now.latest ?? 0) >= 1);
    const criuctl = `^(/usr/bin/node (-[^ ]+ )*)?[^ ]*criuctl run ${job.name} `;
    run('pkill', '--signal', 'TERM', '--uid', 'alice', '--full', criuctl);
    assert.equal(await end, 128 + 15);
    assert.equal(job.now.state, 'interrupted');
    const again = exited(job.start('run', ...command));
    await job.letEnd();
    assert.equal(await again, 9);
    assert.ok((job.now.from ?? 0) >= 1);
    job.assertWhole();
  });
});
