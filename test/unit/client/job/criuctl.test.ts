/** Calls of the client library that execute criuctl, with a scripted criuctl. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isJobError, Job, type JobErrorCode } from '../../../../src/client/job/index.ts';
import { Scripted } from './support/scripted.ts';

describe('a job of the client library', () => {
  let scripted: Scripted;
  let job: Job;
  beforeEach(() => {
    scripted = new Scripted();
    job = new Job('sim', { criuctl: scripted.path });
  });
  afterEach(() => scripted.remove());

  async function refuses(call: () => Promise<unknown>, code: JobErrorCode, words?: RegExp): Promise<void> {
    await assert.rejects(call, (error) => {
      assert.ok(isJobError(error, code), `${error}`);
      if (words) assert.match(error.message, words);
      return true;
    });
  }

  it('has a name that is no option, no path, and nothing else than a name', () => {
    for (const name of [
      '',
      '-x',
      '--json',
      '../x',
      'a/b',
      '.',
      '..',
      '.hidden',
      'a b',
      'a\0',
      'ä',
      'x'.repeat(65),
      7,
    ])
      assert.throws(
        () => new Job(name as string),
        (error) => isJobError(error, 'INVALID') && error.exitCode === 2,
        `${name}`,
      );
  });

  it('is run in its directory, with its environment and its command, as they are', async () => {
    scripted.says(
      `printf '%s\\n' "$@" >"$here/argv"; pwd >"$here/pwd"; env >"$here/env"; echo '{"verb":"run","job":"sim","state":"running","pid":7}'`,
    );
    const directory = join(scripted.place, 'work');
    mkdirSync(directory);
    const env = { A: 'b c', NODE_OPTIONS: '', PATH: '/nowhere:/usr/bin:/bin' };
    const { pid, warnings } = await job.run(['-x', '--', ''], { directory, env, stdin: 'in', every: 60 });
    assert.deepEqual([pid, warnings], [7, []]);
    const words = ['run', '--json', `--stdin=${directory}/in`, '--every=60', 'sim', '--', '-x', '--', '', ''];
    assert.equal(scripted.read('argv'), words.join('\n'));
    assert.equal(scripted.read('pwd'), `${directory}\n`);
    const got = scripted.read('env').split('\n');
    for (const [name, value] of Object.entries(env)) assert.ok(got.includes(`${name}=${value}`), name);
    assert.ok(!got.some((each) => each.startsWith('HOME=')));
  });

  it('keeps Node’s variables of this program from a criuctl that starts nothing', async () => {
    scripted.says(`env >"$here/env"; echo '{"verb":"remove","job":"sim"}'`);
    const before = process.env.NODE_OPTIONS;
    process.env.NODE_OPTIONS = '--throw-deprecation';
    try {
      await job.remove();
    } finally {
      if (before === undefined) delete process.env.NODE_OPTIONS;
      else process.env.NODE_OPTIONS = before;
    }
    assert.doesNotMatch(scripted.read('env'), /^NODE_/m);
  });

  it('finds criuctl by the PATH of this program, not by that of the job, and not in the job’s directory', async () => {
    scripted.answers('run');
    const other = new Scripted().fails(1);
    const before = process.env.PATH;
    const directory = process.cwd();
    process.chdir(other.place);
    process.env.PATH = `.::relative:${scripted.place}:${before}`;
    try {
      const named = new Job('sim');
      await named.run(['a'], { env: { PATH: other.place }, directory: other.place });
      process.env.PATH = '.:/nowhere';
      await refuses(
        () => named.run(['a'], { directory: other.place }),
        'CRIUCTL',
        /no program criuctl in PATH/,
      );
    } finally {
      process.env.PATH = before;
      process.chdir(directory);
      other.remove();
    }
  });

  it('that cannot be asked for is an error of its kind, and nothing is left running', async () => {
    const wrong = join(scripted.place, 'wrong');
    await refuses(() => new Job('sim', { criuctl: wrong }).remove(), 'CRIUCTL', /ENOENT/);
    writeFileSync(wrong, 'echo');
    await refuses(() => new Job('sim', { criuctl: wrong }).remove(), 'CRIUCTL', /EACCES/);
    writeFileSync(scripted.path, '#!/nowhere/sh\n', { mode: 0o755 });
    await refuses(() => job.remove(), 'CRIUCTL', /ENOENT|EACCES/);
    scripted.answers('run');
    await refuses(() => job.run(['a', 'b'.repeat(1 << 20)]), 'INVALID', /longer than the kernel takes/);
    await refuses(
      () => job.run(['a'], { directory: join(scripted.place, 'none') }),
      'DIRECTORY',
      /none cannot/,
    );
    await refuses(() => job.run(['a'], { directory: wrong }), 'DIRECTORY', /no directory/);
    for (const options of [
      { directory: 7 },
      { directory: '/\0' },
      { stdin: 7 },
      { env: { A: 7 } },
    ] as object[])
      await refuses(() => job.run(['a'], options), 'INVALID');
    assert.throws(
      () => new Job('sim', { dir: 7 } as object),
      (error) => isJobError(error, 'INVALID'),
    );
  });

  it('that is refused has the sentence, the advice and the exit status of criuctl', async () => {
    scripted.fails(3, { message: 'Job sim has another command', advice: ['Choose another name'] });
    await assert.rejects(job.run(['a']), (error) => {
      assert.ok(isJobError(error, 'REFUSED'));
      assert.deepEqual([error.exitCode, error.message], [3, 'Job sim has another command']);
      assert.deepEqual(error.advice, ['Choose another name']);
      return true;
    });
  });

  it('whose criuctl is killed is told so', async () => {
    scripted.says('kill -KILL $$');
    await refuses(() => job.checkpoint(), 'CRIUCTL', /ended by SIGKILL/);
  });

  it('whose call is aborted before it begins executes nothing', async () => {
    scripted.says('touch "$here/ran"');
    const reason = new Error('not now');
    for (const call of ['run', 'checkpoint', 'suspend', 'resume', 'remove', 'wait'] as const) {
      const options = { signal: AbortSignal.abort(reason) };
      const begun = call === 'run' ? job.run(['a'], options) : job[call](options);
      await assert.rejects(begun, (error) => isJobError(error, 'ABORTED') && error.cause === reason);
    }
    await refuses(() => Job.list({ criuctl: scripted.path, signal: AbortSignal.abort() }), 'ABORTED');
    assert.ok(!scripted.has('ran'));
  });

  const waiting = 'touch "$here/waits"; while :; do sleep 0.02; done';
  for (const [what, script] of [
    ['has rolled back', `trap 'touch "$here/rolled-back"; exit 130' TERM; ${waiting}`],
    ['has not begun', `trap 'touch "$here/rolled-back"; trap - TERM; kill -TERM $$' TERM; ${waiting}`],
  ] as const)
    it(`whose call is aborted rejects when criuctl ${what}`, async () => {
      scripted.says(script);
      const abort = new AbortController();
      const reason = new Error('enough');
      const asked = job.checkpoint({ signal: abort.signal });
      await scripted.reaches('waits');
      abort.abort(reason);
      await assert.rejects(asked, (error) => isJobError(error, 'ABORTED') && error.cause === reason);
      assert.ok(scripted.has('rolled-back'));
    });

  it('whose call is aborted too late has the result', async () => {
    const answer = '{"verb":"run","job":"sim","state":"running","pid":7}';
    scripted.says(`trap 'echo '"'"'${answer}'"'"'; exit 0' TERM; ${waiting}`);
    const abort = new AbortController();
    const asked = job.run(['a'], { signal: abort.signal });
    await scripted.reaches('waits');
    abort.abort();
    assert.equal((await asked).pid, 7);
  });

  it('that fails at the moment of an abort has its own failure', async () => {
    scripted.says(`trap 'echo full >&2; exit 1' TERM; ${waiting}`);
    const abort = new AbortController();
    const asked = job.checkpoint({ signal: abort.signal });
    await scripted.reaches('waits');
    abort.abort();
    await refuses(() => asked, 'FAILED', /^full$/);
  });

  it('reads all that criuctl writes, and keeps the end of its errors', async () => {
    const lots =
      'i=0; while [ $i -lt 3000 ]; do echo "criuctl: a line that is as long as a line of errors" >&2; i=$((i+1)); done';
    scripted.says(`${lots}; echo '{"success":false,"message":"the last","code":"X"}' >&2; exit 1`);
    await refuses(() => job.checkpoint(), 'FAILED', /^the last$/);
  });

  it('has the numbers of a checkpoint; a suspend of a job that does not run has none', async () => {
    const taken = { checkpoint: 2, parent: null, bytes: 4096, imagesDir: '/jobs/sim/checkpoints/2' };
    scripted.answers('checkpoint', taken);
    assert.deepEqual(await job.checkpoint(), { ...taken, frozenUsec: null, warnings: [] });
    scripted.answers('suspend', { ...taken, frozenUsec: 7 });
    assert.equal((await job.suspend())?.frozenUsec, 7);
    scripted.answers('suspend', { state: 'finished' });
    assert.equal(await job.suspend(), undefined);
  });

  it('is not mistaken for a job of a criuctl that answers in another way', async () => {
    scripted.answers('checkpoint');
    await refuses(() => job.checkpoint(), 'CRIUCTL', /another way/);
    scripted.answers('run', { state: undefined });
    await refuses(() => job.run(['a']), 'CRIUCTL', /another way/);
    scripted.answers('jobs', {}, 'none');
    await refuses(() => Job.list({ criuctl: scripted.path }), 'CRIUCTL', /another way/);
  });

  it('keeps its paths when this program changes its directory', async () => {
    scripted.says(`printf '%s\\n' "$@" >"$here/argv"; echo '{"verb":"remove","job":"sim"}'`);
    const before = process.cwd();
    const link = join(scripted.place, 'link');
    symlinkSync(scripted.place, link);
    try {
      process.chdir(scripted.place);
      const relative = new Job('sim', { criuctl: './criuctl', dir: 'jobs' });
      process.chdir('/');
      await relative.remove();
    } finally {
      process.chdir(before);
      rmSync(link);
    }
    assert.match(scripted.read('argv'), new RegExp(`^--dir=${scripted.place}/jobs$`, 'm'));
  });
});
