/** Python programs of users that do something, and then wait. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
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
    const wait = 'open("ready", "w").close()\nwhile True: os.utime("ready"); time.sleep(0.1)';
    const source = `import ctypes, fcntl, mmap, os, socket, syslog, time\n${code}\n${wait}`;
    const [file, ...rest] = [...as(user, ...options), '/usr/bin/python3', '-c', source];
    const child = spawn(file!, rest, { stdio, detached: true, cwd: directory });
    await eventually('the program is ready', () => existsSync(join(directory, 'ready')));
    return new Program(directory, child);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The program goes on with its work: it touches its file. */
  runsOn(): Promise<void> {
    const touched = () => statSync(join(this.directory, 'ready')).mtimeMs;
    const before = touched();
    return eventually('the program runs on', () => touched() > before);
  }

  /** Its pid is free again: this program, its parent, has heard of its end. */
  reaped(): Promise<void> {
    return eventually('the program is gone', () => !existsSync(`/proc/${this.pid}`));
  }

  end(): void {
    if (isAlive(this.pid)) endProcess(this.pid);
  }
}
