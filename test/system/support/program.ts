/** Python programs of users that do something, and then wait. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../../hostile/support/images.ts';
import { as, directoryOf, type User } from '../../hostile/support/people.ts';
import { eventually } from './bench.ts';
import { endProcess, isAlive } from './proc.ts';

/** A Python program that does something, and then waits. */
export class Program {
  readonly directory: string;
  readonly #child: ChildProcess;

  private constructor(directory: string, child: ChildProcess) {
    this.directory = directory;
    this.#child = child;
  }

  static async start(user: User, code: string, stdio: StdioOptions = 'ignore'): Promise<Program> {
    const directory = directoryOf(user);
    const options = user === 'root' ? [] : unshackled();
    const wait = 'open("ready", "w").close()\nwhile True: time.sleep(0.1)';
    const source = `import ctypes, fcntl, mmap, os, socket, syslog, time\n${code}\n${wait}`;
    const [file, ...rest] = [...as(user, ...options), '/usr/bin/python3', '-c', source];
    const child = spawn(file!, rest, { stdio, detached: true, cwd: directory });
    await eventually('the program is ready', () => existsSync(join(directory, 'ready')));
    return new Program(directory, child);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Its pid is free again: this program, its parent, has heard of its end. */
  reaped(): Promise<void> {
    return eventually('the program is gone', () => !existsSync(`/proc/${this.pid}`));
  }

  end(): void {
    if (isAlive(this.pid)) endProcess(this.pid);
  }
}
