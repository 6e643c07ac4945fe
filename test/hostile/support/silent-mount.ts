/** A FUSE file system that answers nothing (clients/silent-fuse.c). */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binary, eventually, run, succeeds } from '../../system/support/bench.ts';
import { directoryOf, type User, uids } from './people.ts';

export class SilentMount {
  readonly path: string;
  readonly #log: string;
  readonly #pid: number;

  private constructor(path: string, log: string, pid: number) {
    this.path = path;
    this.#log = log;
    this.#pid = pid;
  }

  /** Mounted by root, in the mount namespace of all, as fusermount3 would have done it for this user. */
  static of(user: User): SilentMount {
    succeeds('modprobe', 'fuse');
    if (!existsSync('/dev/fuse')) run('mknod', '-m', '666', '/dev/fuse', 'c', '10', '229');
    const path = directoryOf(user);
    const log = join(directoryOf('root'), 'asked');
    const child = spawn(binary('silent-fuse'), [path, String(uids[user]), log], { stdio: 'inherit' });
    for (let i = 0; i < 200 && !existsSync(log); i += 1) execFileSync('sleep', ['0.1']);
    return new SilentMount(path, log, child.pid!);
  }

  /** Somebody waits for an answer. */
  asked(): Promise<void> {
    return eventually('the file system is asked for something', () => readFileSync(this.#log, 'utf8') !== '');
  }

  /** The end of its server frees whoever waits. */
  end(): void {
    process.kill(this.#pid, 'SIGKILL');
    run('umount', '--lazy', this.path);
  }
}
