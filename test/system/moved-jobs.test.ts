/** Jobs whose directory tells of another machine, or was removed. Another machine is this one, with another machine-id in the record. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { membersOf } from '../../src/cli/job/members.ts';
import { it } from '../hostile/support/guarantee.ts';
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
