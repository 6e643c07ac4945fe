/** Jobs with a terminal of their own, for programs that talk to a person. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { list } from '../../src/cli/gone.ts';
import { it } from '../hostile/support/guarantee.ts';
import { eventually, run } from './support/bench.ts';
import { must } from './support/criuctl.ts';
import { link } from './support/it.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';
import { isFree } from './support/proc.ts';
import { atTerminal, type Step } from './support/session.ts';

const shell = ['--', 'bash', '--norc', '-i'];

for (const user of ['root', 'alice'] as const) {
  describe(`a job of ${user} with a terminal`, () => {
    withJobsOf(user);

    const attached = (job: TestJob, ...steps: Step[]) =>
      atTerminal(user, [['expect', 'at this terminal'], ...steps], 'criuctl', 'attach', job.name);

    it('is attached by its name, before a suspend and after the resume, and leaves its status', async () => {
      const job = new TestJob(user);
      must(job.ask('run', '--pty', ...shell));
      const before = attached(
        job,
        ['type', 'echo before=$((40 + 2)) $(tty)\n'],
        ['expect', 'before=42 /dev/pts/'],
        ['type', '\x1dd'],
        ['expect', 'runs on'],
      );
      assert.deepEqual([before.status, before.missed], [0, undefined], before.screen);
      must(job.ask('checkpoint'));
      const { pid } = job.run;
      must(job.ask('suspend'));
      await eventually('its pid is free', () => isFree(pid));
      const refused = atTerminal(user, [['expect', 'criuctl resume']], 'criuctl', 'attach', job.name);
      assert.equal(refused.status, 3);
      must(job.ask('resume'));
      assert.equal(job.now.from, 2);
      const after = attached(
        job,
        ['type', 'echo after=$((40 + 3))\n'],
        ['expect', 'after=43'],
        ['type', 'exit 5\n'],
        ['expect', 'has finished'],
      );
      assert.deepEqual([after.status, after.missed], [5, undefined], after.screen);
      assert.equal(job.ask('wait').status, 5);
      assert.match(job.output, /before=42.*after=43/s);
    });
    it('goes on from its last checkpoint if the process that holds its terminal is killed', async () => {
      const job = new TestJob(user);
      must(job.ask('run', '--pty', ...shell));
      must(job.ask('checkpoint'));
      const { pid } = job.run;
      run('pkill', '--signal', 'KILL', '--full', `criuctl hold-terminal ${pid}$`);
      await eventually('its pid is free', () => isFree(pid));
      await eventually('it was interrupted', () => job.now.state === 'interrupted');
      must(job.ask('resume'));
      assert.equal(job.now.from, 1);
      const seen = attached(
        job,
        ['type', 'echo again=$((40 + 4))\n'],
        ['expect', 'again=44'],
        ['type', 'exit 6\n'],
        ['expect', 'has finished'],
      );
      assert.deepEqual([seen.status, seen.missed], [6, undefined], seen.screen);
    });
  });
}

describe('a job with a terminal', () => {
  withJobsOf('root');

  it('is started when its terminal can be held, and leaves no process where it cannot', async () => {
    const job = new TestJob('root');
    mkdirSync('/run/criuctl', { recursive: true, mode: 0o700 });
    // A directory that others can enter is no place for the terminal's socket.
    chmodSync('/run/criuctl', 0o755);
    try {
      assert.notEqual(job.ask('run', '--pty', ...shell).status, 0);
      const root = join(job.path, 'root');
      const executes = (pid: string): boolean => link(`/proc/${pid}/exe`) === root;
      await eventually('its tree has ended', () => !list('/proc').some(executes));
      assert.equal(existsSync(join(job.path, 'end')), false);
    } finally {
      chmodSync('/run/criuctl', 0o700);
    }
    must(job.ask('run', '--pty', ...shell));
    assert.equal(job.now.state, 'running');
    must(job.ask('suspend'));
  });

  it('refuses a job in the foreground', async () => {
    const job = new TestJob('root');
    must(job.ask('run', '--pty', ...shell));
    for (const argv of [['resume'], ['run']]) {
      const { status, stderr } = job.ask(argv[0]!, '--foreground');
      assert.deepEqual([status, /has a terminal of its own/.test(stderr)], [3, true], stderr);
    }
    must(job.ask('suspend'));
  });

  it('names the way to the output of a job that has no terminal', async () => {
    const job = new TestJob('root');
    must(job.ask('run', ...job.steps()));
    const { status, screen } = atTerminal('root', [['expect', '--pty']], 'criuctl', 'attach', job.name);
    assert.equal(status, 3);
    assert.match(screen, /criuctl logs/);
  });
});
