/** Processes that criu-grant asks (target.c), and the question. Shared by its tests. */
import { strict as assert } from 'node:assert';
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  constants as fs,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type GrantDirectories, grant } from '../../../src/engine/grant.ts';
import type { GrantAnswer, GrantParameters } from '../../../src/engine/grant-protocol.ts';
import { native, type OwnedFd } from '../../../src/native/binding.ts';
import { cannotShow } from '../support.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
export const built = fileURLToPath(new URL('../../../native/build/Release/criu-grant', import.meta.url));
export const sources = fileURLToPath(new URL('../../../native/grant/', import.meta.url));
export const hasYama = existsSync('/proc/sys/kernel/yama/ptrace_scope');
const { EINVAL } = constants.errno;

/** An account that nobody has. */
export const uid = 600_000 + (process.pid % 100_000);

export const workshop = mkdtempSync(join(tmpdir(), 'criu-service-grant-'));
export const program = join(workshop, 'target');
const targets: Target[] = [];

export class Target {
  readonly pid: number;
  readonly directory: OwnedFd;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  /** @param as another account than {@link uid}. */
  static async start(
    words: readonly string[],
    as: { uid?: number; gid?: number } = {},
    file = program,
  ): Promise<Target> {
    const child = spawn(file, words, {
      uid,
      gid: uid,
      ...as,
      // Its libc leaves restartable sequences to it.
      env: words.includes('sequence-in-file') ? { GLIBC_TUNABLES: 'glibc.pthread.rseq=0' } : {},
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const target = new Target(child);
    targets.push(target);
    if (words[0] !== 'again') {
      assert.equal(await target.line(), 'ready');
      // In its act by now; where it is not, the call comes a moment before it.
      await sleep(20);
    }
    return target;
  }

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    this.pid = child.pid!;
    this.directory = openDirectory(this.pid);
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  async line(): Promise<string | undefined> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : value.trim();
  }

  say(byte = 'x'): void {
    this.#child.stdin.write(byte);
  }

  signal(signal: number): void {
    process.kill(this.pid, signal);
  }

  /** As in /proc; undefined for a process that has gone. */
  get status(): string | undefined {
    try {
      return readFileSync(`/proc/self/fd/${this.directory.number}/status`, 'latin1');
    } catch {
      return undefined;
    }
  }

  /** What a signal, a stop or a tracer would change. */
  get kept(): string {
    return readFileSync(`/proc/${this.pid}/status`, 'latin1')
      .split('\n')
      .filter((line) => /^(State|TracerPid|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt):/.test(line))
      .join('\n');
  }

  async settles(state: string): Promise<void> {
    while (!new RegExp(`^State:\t${state}`, 'm').test(this.kept)) await sleep(1);
  }

  end(): void {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
    this.directory.close();
  }
}

export function openDirectory(pid: number): OwnedFd {
  return native.open(`/proc/${pid}`, fs.O_RDONLY | fs.O_DIRECTORY);
}

/** This process is the caller, as one with the target's account. */
export async function ask(
  target: Target,
  more: Partial<GrantParameters> = {},
  namesAll = true,
  file = built,
  directories: Partial<GrantDirectories> = {},
  deadlineMs?: number,
): Promise<GrantAnswer> {
  const self = openDirectory(process.pid);
  try {
    const { answer, gone } = grant(
      file,
      {
        needsRelation: false,
        ...(namesAll ? { namesAll } : {}),
        engine: process.pid,
        caller: process.pid,
        root: target.pid,
        uid,
        gid: uid,
        permitted: 0n,
        ...more,
      },
      { caller: self, root: target.directory, engine: self, ...directories },
      deadlineMs,
    );
    try {
      return await answer;
    } finally {
      await gone;
    }
  } finally {
    self.close();
  }
}

/** The task has executed the call. */
export function assertCalled(answer: GrantAnswer, pid: number): void {
  const { fault, error, named, before } = answer;
  if (hasYama) assert.deepEqual({ fault, named: named + before }, { fault: 'none', named: 1 });
  else assert.deepEqual({ fault, error, pid: answer.pid }, { fault: 'call', error: EINVAL, pid });
}

export async function asked(target: Target, times = 20): Promise<void> {
  for (let time = 0; time < times; time += 1) assertCalled(await ask(target), target.pid);
}

/** Call this in a suite: its targets end with each test. */
export function useTargets(): void {
  before(function () {
    if (process.getuid!() !== 0) cannotShow(this, 'only root traces processes of others');
    mkdirSync(workshop, { recursive: true });
    chmodSync(workshop, 0o755);
    const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-pthread'];
    execFileSync('gcc', [...flags, '-o', program, join(here, 'target.c')], { stdio: 'inherit' });
  });
  afterEach(() => {
    for (const target of targets.splice(0)) target.end();
  });
  after(() => rmSync(workshop, { recursive: true, force: true }));
}
