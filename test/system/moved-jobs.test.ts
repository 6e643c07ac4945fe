/** Jobs whose directory tells of another machine, or was removed. Another machine is this one, with another machine-id in the record. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { membersOf } from '../../src/cli/job/members.ts';
import { it } from '../hostile/support/guarantee.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { eventually, run, succeeds } from './support/bench.ts';
import { must } from './support/criuctl.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';
import { isAlive, isFree } from './support/proc.ts';

const exited = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', resolve));

/** The last run of the job was on another machine. */
function moveAway(job: TestJob): void {
  const path = join(job.path, 'run.json');
  const record = { ...JSON.parse(readFileSync(path, 'utf8')), machineId: '0'.repeat(32), host: 'n2' };
  writeFileSync(path, JSON.stringify(record));
}

async function killed(pid: number): Promise<void> {
  const pids = membersOf(pid);
  process.kill(pid, 'SIGKILL');
  await eventually('its pids are free', () => pids.every(isFree));
}

describe('a job in the foreground on machines that share its directory', () => {
  withJobsOf('alice');

  it('runs nowhere else while its tree lives, although its criuctl was killed, and goes on elsewhere afterwards', async () => {
    const job = new TestJob('alice', true);
    const command = ['--foreground', ...job.steps(9)];
    const stays = job.start('run', ...command);
    const end = exited(stays);
    await eventually('it writes', () => job.lines > 3);
    must(job.ask('checkpoint'));
    const { pid } = job.run;
    run('pkill', '--signal', 'KILL', '--uid', 'alice', '--full', `criuctl run ${job.name} --dir`);
    await end;
    moveAway(job);
    assert.equal(job.now.state, 'running-elsewhere');
    for (const [verb, ...argv] of [
      ['run', ...command],
      ['resume', '--foreground', '--take-over'],
    ]) {
      const { status, stderr } = job.ask(verb!, ...argv);
      assert.equal(status, 3, stderr);
    }
    assert.ok(isAlive(pid));
    await killed(pid);
    await eventually('its claim is let go', () => job.now.state !== 'running-elsewhere');
    const goesOn = exited(job.start('run', ...command));
    await job.letEnd();
    assert.equal(await goesOn, 9);
    assert.ok((job.now.from ?? 0) >= 1);
    job.assertWhole();
  });

  it('is claimed for a minute after its criuctl was killed in a restore of which nothing comes, and not after another kill', () => {
    const trace = join(directoryOf('root'), 'trace');
    /** @param told what its criuctl has said. @returns seconds */
    const claimed = (told: string): number => {
      // Sleeps are over at once.
      const sleeps = ['-e', 'trace=clock_nanosleep', '-e', 'inject=clock_nanosleep:retval=0'];
      const argv = ['-o', trace, ...sleeps, '/usr/lib/criu-service/criu-job-claim', '/no/job/root'];
      const { status } = spawnSync('strace', argv, { input: told });
      assert.equal(status, 0);
      const slept = [...readFileSync(trace, 'utf8').matchAll(/tv_sec=(\d+)/g)];
      return slept.reduce((sum, [, seconds]) => sum + Number(seconds), 0);
    };
    assert.equal(claimed('+'), 60);
    assert.equal(claimed('+-'), 0);
    assert.equal(claimed(''), 0);
    return Promise.resolve();
  });
});

describe('a job in a unit', () => {
  withJobsOf('root');

  const isEnabled = (job: TestJob): boolean => succeeds('systemctl', 'is-enabled', unitOf(job));
  const isDown = (job: TestJob): boolean =>
    /^(inactive|failed)$/.test(
      run('systemctl', 'show', '--property=ActiveState', '--value', unitOf(job)).trim(),
    );
  const unitOf = (job: TestJob): string => `criu-job@${job.name}.service`;

  it('of a machine that is gone for good goes on here if its user says so', async () => {
    const job = new TestJob('root');
    must(job.ask('run', ...job.steps(9)));
    await eventually('it writes', () => job.lines > 3);
    must(job.ask('checkpoint'));
    await killed(job.run.pid);
    await eventually('its unit has ended', () => isDown(job));
    moveAway(job);
    // An end by the stop of its unit, which could not suspend it.
    const record = JSON.parse(readFileSync(join(job.path, 'run.json'), 'utf8'));
    writeFileSync(join(job.path, 'run.json'), JSON.stringify({ ...record, stopped: true }));
    writeFileSync(join(job.path, 'end'), 'killed 15\n');
    for (const verb of ['run', 'resume', 'remove'] as const) {
      const { status, stderr } = job.ask(verb, ...(verb === 'run' ? job.steps(9) : []));
      assert.equal(status, 3);
      assert.match(stderr, new RegExp(`criuctl resume ${job.name} --take-over`));
    }
    must(job.ask('resume', '--take-over'));
    assert.equal(job.now.from, 1);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 9);
    job.assertWhole();
  });

  it('that runs here is not taken over', async () => {
    const job = new TestJob('root');
    must(job.ask('run', ...job.steps()));
    const { pid } = job.run;
    must(job.ask('resume', '--take-over'));
    assert.equal(job.run.pid, pid);
    await job.goesOn();
  });

  it('whose file system is not mounted yet stays enabled, and goes on afterwards', async () => {
    const job = new TestJob('root');
    must(job.ask('run', ...job.steps(9)));
    await eventually('it writes', () => job.lines > 3);
    run('systemctl', 'stop', unitOf(job));
    const starts = (): boolean => {
      run('systemctl', 'reset-failed');
      return succeeds('systemctl', 'start', unitOf(job));
    };
    run('mount', '-t', 'tmpfs', 'tmpfs', job.home);
    try {
      assert.ok(!starts());
      assert.ok(isEnabled(job));
    } finally {
      run('umount', job.home);
    }
    // A link to a place on a file system that is not there.
    const aside = join(directoryOf('root'), 'aside');
    run('mv', job.path, aside);
    symlinkSync('/no/file/system', job.path);
    try {
      assert.ok(!starts());
      assert.ok(isEnabled(job));
    } finally {
      rmSync(job.path);
      run('mv', aside, job.path);
    }
    assert.ok(starts());
    assert.equal(job.now.state, 'running');
    await job.letEnd();
    assert.equal(job.ask('wait').status, 9);
    job.assertWhole();
  });

  it('of a removed directory is not started with the machine any more', async () => {
    const other = new TestJob('root');
    must(other.ask('run', '--', '/bin/true'));
    const job = new TestJob('root');
    must(job.ask('run', ...job.steps()));
    const { pid } = job.run;
    assert.ok(isEnabled(job));
    rmSync(job.path, { recursive: true });
    await killed(pid);
    await eventually('its unit has ended', () => isDown(job));
    assert.ok(!isEnabled(job));
    // As after a power cut, before which no stop of the unit could find out.
    run('systemctl', 'enable', unitOf(job));
    run('systemctl', 'reset-failed', unitOf(job));
    run('systemctl', 'start', unitOf(job));
    assert.ok(!isEnabled(job));
    await eventually('its unit has ended', () => isDown(job));
    assert.ok(!succeeds('systemctl', 'is-failed', unitOf(job)));
    const journal = run('journalctl', `--unit=${unitOf(job)}`, '--output=cat', '--no-pager');
    assert.match(journal, /the directory of job .* was removed from .*: its unit is disabled/);
    assert.ok(!existsSync(job.path));
  });
});
