/** A FUSE file system that answers nothing, or falls silent at a moment of its owner's choice (clients/silent-fuse.c). */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary, cannotShowHere, eventually, run, succeeds } from '../../system/support/bench.ts';
import { directoryOf, type User, uids } from './people.ts';

/** Some containers lack the kernel module or the device of FUSE. */
export function needsFuse(context: Mocha.Context): void {
  succeeds('modprobe', 'fuse');
  if (!existsSync('/dev/fuse')) run('mknod', '-m', '666', '/dev/fuse', 'c', '10', '229');
  try {
    closeSync(openSync('/dev/fuse', 'r+'));
  } catch (error) {
    cannotShowHere(context, `/dev/fuse cannot be opened here: ${(error as Error).message}`);
  }
}

export class SilentMount {
  readonly path: string;
  readonly #log: string;
  readonly #pid: number;
  #ended = false;

  private constructor(path: string, log: string, pid: number) {
    this.path = path;
    this.#log = log;
    this.#pid = pid;
  }

  /** Mounted by root, in the mount namespace of the machine, as fusermount3 would have done it for this user. */
  static of(user: User, ...from: 'flush'[]): SilentMount {
    const path = directoryOf(user);
    const log = join(directoryOf('root'), 'asked');
    const child = spawn(binary('silent-fuse'), [path, String(uids[user]), log, ...from], {
      stdio: 'inherit',
    });
    for (let i = 0; i < 3000 && !existsSync(log); i += 1) execFileSync('sleep', ['0.1']);
    return new SilentMount(path, log, child.pid!);
  }

  /** A file in it; any name will do. The first request without an answer is its close. */
  get file(): string {
    return join(this.path, 'file');
  }

  /** Waits until a process waits for an answer. */
  asked(): Promise<void> {
    return eventually('the file system is asked for something', () => /^\d/m.test(this.#said));
  }

  /** From here on nothing is answered. */
  fallSilent(): Promise<void> {
    process.kill(this.#pid, 'SIGUSR1');
    return eventually('the file system is silent', () => this.#said.includes('silent'));
  }

  /** The end of its server frees all processes that wait. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    process.kill(this.#pid, 'SIGKILL');
    run('umount', '--lazy', this.path);
  }

  get #said(): string {
    return readFileSync(this.#log, 'utf8');
  }
}
