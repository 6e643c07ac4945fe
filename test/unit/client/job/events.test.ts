/** Events of a job, from its files and its process. Each is waited for without a limit of its own. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isJobError, Job, type JobEvent } from '../../../../src/client/job/index.ts';
import { JobFiles } from './support/files.ts';

describe('the events of a job', () => {
  let files: JobFiles;
  let abort: AbortController;
  let events: AsyncGenerator<JobEvent, void, void>;
  beforeEach(() => begin());
  afterEach(async () => {
    abort.abort();
    await events.return();
    files.close();
  });

  function begin(depth = 0, home?: string): void {
    files = new JobFiles(depth);
    abort = new AbortController();
    const job = new Job(files.name, { dir: home ?? files.home });
    events = job.events({ signal: abort.signal });
  }

  /** The next event, in words. */
  async function next(): Promise<string> {
    const { value, done } = await events.next();
    if (done || !value) return 'over';
    switch (value.type) {
      case 'state':
        return value.job.state;
      case 'checkpoint':
        return `checkpoint ${value.checkpoint} of ${value.job.latest}`;
      case 'failure':
        return `failure: ${value.message}`;
      default:
        return value.type;
    }
  }

  it('are those of its life, from before its directory is there until it is removed', async () => {
    abort.abort();
    files.close();
    begin(3);
    assert.equal(await next(), 'absent');
    files.make();
    assert.equal(await next(), 'new');
    const first = files.start();
    assert.equal(await next(), 'running');
    files.checkpointAside(1, false);
    files.nameCheckpoint(1);
    assert.equal(await next(), 'checkpoint 1 of 1');
    files.job.noteFailure('No room');
    assert.equal(await next(), 'failure: No room');
    files.job.noteFailure('No room');
    assert.equal(await next(), 'failure: No room');
    await files.kill(first);
    assert.equal(await next(), 'interrupted');
    files.start(1);
    assert.equal(await next(), 'running');
    files.end('exited 3\n');
    assert.equal(await next(), 'finished');
    files.remove();
    assert.equal(await next(), 'absent');
    files.make();
    assert.equal(await next(), 'new');
  });

  it('are the end of a process that leaves no file behind', async () => {
    files.make();
    const child = files.start();
    assert.equal(await next(), 'running');
    const told = next();
    await files.kill(child);
    assert.equal(await told, 'interrupted');
  });

  it('have no interruption of a job that is being suspended, however long its checkpoint takes to get its name', async () => {
    files.make();
    const child = files.start();
    assert.equal(await next(), 'running');
    const lock = await files.job.lock();
    files.checkpointAside(1, true);
    const told = next();
    await files.kill(child);
    // The watcher looks at the job by now, and waits for the lock.
    await new Promise((resolve) => setTimeout(resolve, 200));
    files.nameCheckpoint(1);
    lock.release();
    assert.deepEqual([await told, await next()], ['checkpoint 1 of 1', 'suspended']);
  });

  it('tell a checkpoint when it is the latest', async () => {
    files.make();
    files.start();
    assert.equal(await next(), 'running');
    const lock = await files.job.lock();
    files.checkpointAside(1, false);
    renameSync(files.job.at('checkpoints', '.new-1'), files.job.checkpoint(1));
    files.checkpointAside(2, false);
    const told = next();
    await new Promise((resolve) => setTimeout(resolve, 200));
    files.nameCheckpoint(2);
    lock.release();
    assert.deepEqual([await told, await next()], ['checkpoint 1 of 2', 'checkpoint 2 of 2']);
  });

  it('come after those that nobody has waited for, with the last state at last', async () => {
    files.make();
    assert.equal(await next(), 'new');
    const child = files.start();
    await files.kill(child);
    files.start();
    files.end('killed 15\n');
    assert.equal(await next(), 'finished');
  });

  it('are none for what the job writes', async () => {
    const job = files.make();
    files.start();
    assert.equal(await next(), 'running');
    const told = next();
    for (let line = 0; line < 100; line += 1) {
      appendFileSync(job.at('stdout'), 'a line\n');
      await new Promise((resolve) => setImmediate(resolve));
    }
    job.noteFailure('No room');
    assert.equal(await told, 'failure: No room');
  });

  it('are told for each reader, and for a job whose directory is a link', async () => {
    const elsewhere = join(files.home, 'elsewhere');
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, join(files.home, files.name));
    assert.equal(await next(), 'absent');
    const other = new Job(files.name, { dir: files.home }).events({ signal: abort.signal });
    assert.equal((await other.next()).value?.type, 'absent');
    files.make();
    assert.equal(await next(), 'new');
    assert.equal((await other.next()).value?.type, 'state');
    files.start();
    assert.equal(await next(), 'running');
    assert.equal((await other.next()).value?.type, 'state');
  });

  it('go on in a directory of jobs that was removed and made anew', async () => {
    files.make();
    assert.equal(await next(), 'new');
    for (let round = 0; round < 20; round += 1) {
      rmSync(files.home, { recursive: true });
      assert.equal(await next(), 'absent', `round ${round}`);
      files.make();
      assert.equal(await next(), 'new', `round ${round}`);
    }
    // Between two looks, perhaps with the inodes of the old directories.
    for (let round = 0; round < 20; round += 1) {
      rmSync(files.home, { recursive: true });
      files.make();
      files.start();
      assert.equal(await next(), 'running', `round ${round}`);
      files.end('exited 0\n');
      assert.equal(await next(), 'finished', `round ${round}`);
    }
  });

  it('end with their signal: before, while they are waited for, and between two of them', async () => {
    files.make();
    const job = new Job(files.name, { dir: files.home });
    for await (const event of job.events({ signal: AbortSignal.abort() })) assert.fail(event.type);
    assert.equal(await next(), 'new');
    const told = next();
    abort.abort();
    assert.equal(await told, 'over');
    const other = new AbortController();
    for await (const event of job.events({ signal: other.signal })) {
      assert.equal(event.type, 'state');
      other.abort();
    }
  });

  it('end with their signal while a checkpoint is taken', async () => {
    files.make();
    const child = files.start();
    assert.equal(await next(), 'running');
    const lock = await files.job.lock();
    const told = next();
    await files.kill(child);
    await new Promise((resolve) => setTimeout(resolve, 200));
    abort.abort();
    assert.equal(await told, 'over');
    lock.release();
  });

  it('are looked for again after the seconds that were asked for, without a word of the kernel', async () => {
    const job = files.make();
    events = new Job(files.name, { dir: files.home }).events({ signal: abort.signal, lookEvery: 0.05 });
    writeFileSync(job.at('end'), 'exited');
    assert.equal(await next(), 'new');
    // The file is open already, and a write through a mapping or from another machine tells nothing; a second link is unwatched, too.
    const unseen = join(files.home, 'unseen');
    symlinkSync(job.at('end'), unseen);
    const told = next();
    writeFileSync(unseen, 'exited 0\n');
    assert.equal(await told, 'finished');
  });

  it('end in an error where the files cannot be read', async () => {
    const loop = join(files.home, 'loop');
    symlinkSync('loop', loop);
    const none = new Job(files.name, { dir: loop }).events();
    await assert.rejects(
      none.next(),
      (error) => isJobError(error, 'DIRECTORY') && error.errnoName === 'ELOOP',
    );
  });
});

describe('a job of the client library', () => {
  let files: JobFiles;
  let job: Job;
  beforeEach(() => {
    files = new JobFiles();
    job = new Job(files.name, { dir: files.home, criuctl: '/nonexistent' });
  });
  afterEach(() => files.close());

  it('tells its state without criuctl, and that it is not there', async () => {
    const none = (error: unknown): boolean =>
      isJobError(error, 'DIRECTORY') && error.exitCode === 5 && /no job sim/.test(error.message);
    await assert.rejects(job.state(), none);
    await assert.rejects(job.wait(), none);
    files.make();
    const child = files.start();
    const { state, pid, checkpoints } = await job.state();
    assert.deepEqual([state, pid, checkpoints], ['running', child, []]);
  });

  it('is waited for until it does not run, also if it was resumed at once', async () => {
    files.make();
    assert.equal((await job.wait()).state, 'new');
    const child = files.start();
    const lock = await files.job.lock();
    const waited = job.wait();
    await files.kill(child);
    files.checkpointAside(1, true);
    files.nameCheckpoint(1);
    const resumed = files.start(1);
    lock.release();
    files.end('exited 7\n');
    await files.kill(resumed);
    const { state, status, signal } = await waited;
    assert.deepEqual([state, status, signal], ['finished', 7, null]);
  });

  it('is waited for until the signal is aborted, while it runs and while a checkpoint is taken', async () => {
    files.make();
    const child = files.start();
    for (const prepare of [async () => undefined, () => files.kill(child)]) {
      const lock = await files.job.lock();
      const abort = new AbortController();
      const waited = job.wait({ signal: abort.signal });
      await prepare();
      abort.abort(new Error('enough'));
      await assert.rejects(
        waited,
        (error) => isJobError(error, 'ABORTED') && error.cause === abort.signal.reason,
      );
      lock.release();
    }
  });

  it('that is removed while it is waited for is not there', async () => {
    files.make();
    const child = files.start();
    const rejected = assert.rejects(
      job.wait(),
      (error) => isJobError(error, 'DIRECTORY') && /no job sim/.test(error.message),
    );
    files.remove();
    await files.kill(child);
    await rejected;
  });
});
