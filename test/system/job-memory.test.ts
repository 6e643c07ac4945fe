/** Checkpoints of a job with much memory, where the kernel tracks changes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from '../hostile/support/guarantee.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { eventually, needsSoftDirty, script } from './support/bench.ts';
import { must } from './support/criuctl.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';
import { childrenOf } from './support/proc.ts';

const mebibytes = 24;

const large = (...rest: string[]): [string, ...string[]] => [
  '/usr/bin/python3',
  script('large.py'),
  `${mebibytes}`,
  ...rest,
];

/** Bytes of memory in a checkpoint. */
function pagesOf(job: TestJob, number: number): number {
  const directory = join(job.path, 'checkpoints', `${number}`);
  return readdirSync(directory)
    .filter((name) => name.startsWith('pages-'))
    .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

const parentOf = (job: TestJob, number: number): string | undefined => {
  const link = join(job.path, 'checkpoints', `${number}`, 'parent');
  return existsSync(link) ? readlinkSync(link) : undefined;
};

describe('a job of alice’s, where the kernel tracks memory,', () => {
  withJobsOf('alice');

  it('has checkpoints of what has changed, which stay as long as they are needed, and goes on with all of its memory', async function () {
    needsSoftDirty(this);
    // Each call of criuctl takes seconds in the emulated machine.
    this.timeout(900_000);
    const job = new TestJob('alice');
    const end = join(directoryOf('alice'), 'end');
    must(job.ask('run', '--keep', '1', '--', ...large('1000000', '0.1', end)));
    await eventually('it writes', () => job.lines > 3);
    for (const number of [1, 2, 3]) {
      await job.goesOn();
      const { stdout } = must(job.ask('checkpoint', '--json'));
      assert.equal(JSON.parse(stdout).parent, number === 1 ? null : number - 1);
    }
    assert.ok(pagesOf(job, 1) > mebibytes << 20, `${pagesOf(job, 1)} bytes`);
    for (const number of [2, 3]) {
      assert.equal(parentOf(job, number), `../${number - 1}`);
      assert.ok(pagesOf(job, number) < (mebibytes << 20) / 2, `${pagesOf(job, number)} bytes in ${number}`);
    }
    await job.goesOn();
    must(job.ask('suspend'));
    assert.equal(parentOf(job, 4), '../3');
    assert.deepEqual(job.now.checkpoints, [1, 2, 3, 4]);
    must(job.ask('resume'));
    await job.goesOn();
    // Nothing was tracked since the resume, and the next of this run needs none of the older ones.
    must(job.ask('checkpoint'));
    assert.equal(parentOf(job, 5), undefined);
    assert.deepEqual(job.now.checkpoints, [5]);
    must(job.ask('suspend'));
    assert.equal(parentOf(job, 6), '../5');
    must(job.ask('resume'));
    await job.goesOn();
    writeFileSync(end, '');
    assert.equal(job.ask('wait').status, 0);
    const [file, ...argv] = large(`${job.lines - 1}`, '0');
    assert.equal(job.output, execFileSync(file, argv, { encoding: 'utf8' }));
  });
});

describe('a job of root’s, where the kernel tracks memory,', () => {
  withJobsOf('root');

  it('has a whole checkpoint after somebody else has cleared what was tracked, even of a single process', async function () {
    needsSoftDirty(this);
    // Each call of criuctl takes seconds in the emulated machine.
    this.timeout(900_000);
    const job = new TestJob('root');
    must(job.ask('run', '--', ...large('1000000', '0.1')));
    await eventually('it writes', () => job.lines > 3);
    must(job.ask('checkpoint'));
    const [command] = childrenOf(job.now.pid!);
    writeFileSync(`/proc/${command}/clear_refs`, '4');
    await job.goesOn();
    must(job.ask('checkpoint'));
    assert.equal(parentOf(job, 2), undefined);
    assert.ok(pagesOf(job, 2) > mebibytes << 20, `${pagesOf(job, 2)} bytes`);
    await job.goesOn();
    must(job.ask('checkpoint'));
    assert.equal(parentOf(job, 3), '../2');
    must(job.ask('suspend'));
    must(job.ask('remove'));
  });
});
