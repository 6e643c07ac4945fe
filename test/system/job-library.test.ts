/** Jobs by the client library, as alice, with the installed criuctl. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Checkpoint, JobResult, JobStatus, ListedJob } from '../../src/client/job/index.ts';
import { it } from '../hostile/support/guarantee.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { commandMs, eventually, example, script } from './support/bench.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';

interface Failure {
  readonly code: string;
  readonly exitCode: number;
  readonly message: string;
}

interface Life {
  readonly absent: Failure;
  readonly started: JobResult;
  readonly taken: Checkpoint;
  readonly other: Failure;
  readonly listed: readonly ListedJob[];
  readonly suspended: Checkpoint;
  readonly rest: JobStatus;
  readonly again: undefined;
  readonly resumed: JobResult;
  readonly running: Failure;
  readonly ended: JobStatus;
  readonly written: string;
  readonly once: JobResult;
  readonly removed: Failure;
  readonly events: readonly string[];
}

/** Counts until there is a file, so that a slow machine has the time that it needs. */
const counting = `import os, sys, time
count = 0
while not os.path.exists(sys.argv[1]):
    print(count, flush=True)
    count += 1
    time.sleep(0.05)
sys.exit(7)`;

function isCount(text: string): void {
  const lines = text.split('\n');
  assert.ok(lines.length > 5);
  assert.deepEqual(lines, [...lines.slice(1).map((_, at) => `${at}`), '']);
}

describe('a job of alice’s by the client library', () => {
  withJobsOf('alice');

  let stop = '';
  let command: string[] = [];
  beforeEach(() => {
    stop = join(directoryOf('alice'), 'stop');
    command = ['/usr/bin/python3', '-c', counting, stop];
  });

  function live(job: TestJob): Promise<Life> {
    const [file, ...rest] = [
      ...job.login,
      'node',
      script('job-life.mjs'),
      job.name,
      join(job.path, 'stdout'),
      stop,
      ...command,
    ];
    const child = spawn(file!, rest, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    const said = ['', ''];
    for (const [at, stream] of [child.stdout, child.stderr].entries())
      stream.setEncoding('utf8').on('data', (text: string) => {
        said[at] += text;
      });
    return new Promise((resolve, reject) =>
      child.once('close', (status) => {
        if (status === 0) resolve(JSON.parse(said[0]!) as Life);
        else reject(new Error(`${status}: ${said[1]}`));
      }),
    );
  }

  it('is started, checkpointed, suspended, resumed by the call that has started it, waited for and removed, with its events in order', async () => {
    const job = new TestJob('alice');
    const life = await live(job);
    const { started, taken, suspended, rest, resumed, ended, once } = life;
    assert.deepEqual([life.absent.code, life.absent.exitCode], ['DIRECTORY', 5]);
    assert.deepEqual([started.state, started.from, started.directory], ['running', null, job.path]);
    assert.ok(started.pid! > 0);
    assert.deepEqual([taken.checkpoint, taken.imagesDir], [1, join(job.path, 'checkpoints', '1')]);
    assert.ok(taken.bytes > 0 && taken.frozenUsec! > 0);
    assert.deepEqual([life.other.code, life.other.exitCode], ['REFUSED', 3]);
    assert.match(life.other.message, /has another command/);
    const listed = life.listed.find((each) => each.job === job.name)!;
    assert.deepEqual([listed.state, listed.latest, listed.command], ['running', 1, command]);
    assert.ok(listed.bytes! > 0 && listed.lastCheckpoint !== null);
    assert.deepEqual([suspended.checkpoint, rest.state, rest.latest], [2, 'suspended', 2]);
    assert.equal(life.again, undefined);
    assert.deepEqual([resumed.state, resumed.from, resumed.pid], ['running', 2, started.pid]);
    assert.deepEqual([life.running.code, life.running.exitCode], ['REFUSED', 3]);
    assert.deepEqual([ended.state, ended.status, ended.signal], ['finished', 7, null]);
    isCount(life.written);
    assert.deepEqual([once.state, once.status], ['finished', 7]);
    assert.equal(life.removed.code, 'DIRECTORY');
    assert.equal(existsSync(job.path), false);
    const expected = [
      'absent',
      'running',
      'checkpoint 1',
      'checkpoint 2',
      'suspended',
      'running',
      'finished',
      'absent',
    ];
    // It is new for a moment, before its unit has started it.
    assert.deepEqual(
      life.events.filter((each) => each !== 'new'),
      expected,
    );
  });

  it('is suspended by Control-C in the example, and the same line goes on with it to its end', async () => {
    const job = new TestJob('alice');
    const [file, ...rest] = [...job.login, 'node', example('job.mjs'), job.name, ...command];
    const begin = () => {
      const child = spawn(file!, rest, { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/' });
      const run = { child, said: '', ended: new Promise((resolve) => child.once('close', resolve)) };
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        run.said += text;
      });
      return run;
    };
    const first = begin();
    await eventually('it runs, and is watched', () => first.said === 'runs\n' && job.lines > 3);
    first.child.kill('SIGINT');
    assert.equal(await first.ended, 0);
    assert.equal(first.said, 'runs\ncheckpoint 1 is complete\nis suspended\n');
    const second = begin();
    await eventually('it goes on', () => second.said === 'runs, from checkpoint 1 on\n');
    const refused = spawnSync(file!, [...rest, 'more'], { encoding: 'utf8', cwd: '/', timeout: commandMs });
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /has another command.*\nChoose another name/s);
    writeFileSync(stop, '');
    assert.equal(await second.ended, 0);
    assert.equal(second.said, 'runs, from checkpoint 1 on\nhas finished: 7\n');
    isCount(job.output);
  });
});
