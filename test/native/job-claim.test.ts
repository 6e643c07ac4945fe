/** criu-job-claim: the lock of a job in the foreground lives as long as the job's tree. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileLock, tryToLock } from '../../src/job/lock.ts';
import { eventually } from './support.ts';

const built = (name: string): string =>
  join(import.meta.dirname, '..', '..', 'native', 'build', 'Release', name);

describe('the claim of a job in the foreground', () => {
  let directory: string;
  let root: string;
  let path: string;
  const started: ChildProcess[] = [];
  beforeEach(() => {
    directory = realpathSync(mkdtempSync(join(tmpdir(), 'job-claim-')));
    root = join(directory, 'root');
    path = join(directory, 'watch');
    copyFileSync(built('criu-job-root'), root);
    chmodSync(root, 0o700);
  });
  afterEach(async () => {
    for (const child of started.splice(0)) {
      const ended = isOver(child) ? undefined : once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(directory, { recursive: true, force: true });
  });

  const isOver = ({ exitCode, signalCode }: ChildProcess): boolean =>
    exitCode !== null || signalCode !== null;

  async function holderOf(lock: FileLock): Promise<ChildProcess> {
    const child = spawn(built('criu-job-claim'), [root], {
      stdio: ['pipe', 'ignore', 'inherit', lock.number],
    });
    started.push(child);
    await once(child, 'spawn');
    await eventually(() => caught(child.pid!));
    return child;
  }

  /** It blocks signals before it does anything else. */
  function caught(pid: number): boolean {
    return /^SigBlk:\t[0-9a-f]*[4-7c-f]...$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  }

  async function tree(): Promise<ChildProcess> {
    const child = spawn(root, [join(directory, 'end'), '/bin/sleep', 'sleep', 'infinity'], {
      stdio: 'ignore',
    });
    started.push(child);
    await once(child, 'spawn');
    assert.equal(readlinkSync(`/proc/${child.pid}/exe`), root);
    return child;
  }

  async function endOf(child: ChildProcess): Promise<void> {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }

  function isFree(): boolean {
    const lock = tryToLock(path);
    lock?.release();
    return lock !== undefined;
  }

  it('is held while the tree lives, although the criuctl that has started it is gone', async () => {
    const lock = tryToLock(path)!;
    const holder = await holderOf(lock);
    const job = await tree();
    // As the kernel does for a criuctl that is killed.
    holder.stdin!.destroy();
    lock.release();
    // It looks for the tree, and waits: the state is S in poll(2), which is reached after a look at all processes.
    await eventually(() => /poll/.test(waitsIn(holder.pid!)));
    assert.ok(!isFree());
    const over = once(holder, 'exit');
    await endOf(job);
    assert.deepEqual(await over, [0, null]);
    assert.ok(isFree());
  });

  it('is let go with criuctl if no tree lives, and while criuctl lives no signal ends it', async () => {
    const lock = tryToLock(path)!;
    const holder = await holderOf(lock);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) holder.kill(signal);
    lock.release();
    assert.ok(!isFree());
    const over = once(holder, 'exit');
    holder.stdin!.destroy();
    assert.deepEqual(await over, [0, null]);
    assert.ok(isFree());
  });

  it('is held for a tree that comes to be after its criuctl was killed in a restore', async () => {
    const lock = tryToLock(path)!;
    const holder = await holderOf(lock);
    const over = once(holder, 'exit');
    holder.stdin!.end('+');
    lock.release();
    // It has found no process, and looks again later.
    await eventually(() => /nanosleep/.test(waitsIn(holder.pid!)));
    const job = await tree();
    assert.ok(!isFree());
    await eventually(() => /poll/.test(waitsIn(holder.pid!)));
    await endOf(job);
    assert.deepEqual(await over, [0, null]);
    assert.ok(isFree());
  });

  it('is not held for a tree of another job', async () => {
    const lock = tryToLock(path)!;
    const other = join(directory, 'other');
    copyFileSync(root, other);
    chmodSync(other, 0o700);
    const stranger = spawn(other, [join(directory, 'end'), '/bin/sleep', 'sleep', 'infinity'], {
      stdio: 'ignore',
    });
    started.push(stranger);
    await once(stranger, 'spawn');
    const holder = await holderOf(lock);
    const over = once(holder, 'exit');
    holder.stdin!.destroy();
    assert.deepEqual(await over, [0, null]);
    lock.release();
    assert.ok(existsSync(`/proc/${stranger.pid}`));
  });

  it('needs an absolute path', async () => {
    for (const argv of [[], ['root'], [root, root]]) {
      const child = spawn(built('criu-job-claim'), argv, { stdio: 'ignore' });
      assert.deepEqual(await once(child, 'exit'), [2, null]);
    }
  });
});

/** The kernel function in which a process waits, or the number of its system call. */
function waitsIn(pid: number): string {
  try {
    return `${readFileSync(`/proc/${pid}/wchan`, 'utf8')} ${callName(readFileSync(`/proc/${pid}/syscall`, 'utf8'))}`;
  } catch {
    return '';
  }
}

/** asm/unistd_64.h, and asm-generic/unistd.h for arm64, which has no poll. */
const calls: Readonly<Record<string, string>> =
  process.arch === 'arm64'
    ? { 73: 'ppoll', 115: 'clock_nanosleep' }
    : { 7: 'poll', 271: 'ppoll', 230: 'clock_nanosleep' };

function callName(line: string): string {
  return calls[line.split(' ')[0]!] ?? '';
}
