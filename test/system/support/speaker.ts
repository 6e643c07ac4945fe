/** A program whose standard streams lead out of its tree. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../../hostile/support/images.ts';
import { as, directoryOf, type User, uids } from '../../hostile/support/people.ts';
import { eventually } from './bench.ts';
import { criuctlAs, type Ended, must } from './criuctl.ts';
import { endProcess, isAlive, isFree } from './proc.ts';
import { Program } from './session.ts';

/** Writes numbers to both outputs, and repeats each line of its input on its output. */
export const speakingProgram = `
import os, select, sys, time
with open(sys.argv[1] + '.new', 'w') as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + '.new', sys.argv[1])
n = 0
listens = len(sys.argv) > 2
while True:
    n += 1
    os.write(1, b'out %d\\n' % n)
    os.write(2, b'err %d\\n' % n)
    if listens and select.select([0], [], [], 0)[0]:
        said = os.read(0, 1000)
        listens = said != b''
        if said:
            os.write(1, b'heard ' + said)
    time.sleep(0.02)
`;

export class Speaker {
  readonly user: User;
  readonly directory: string;
  readonly images: string;
  readonly #pidFile: string;
  #child: ChildProcess | undefined;
  pid = 0;

  constructor(user: User) {
    this.user = user;
    this.directory = directoryOf(user);
    this.images = join(this.directory, 'images');
    this.#pidFile = join(this.directory, 'pid');
  }

  /** @param script a command line of bash with the program as "$@". */
  async start(script: string, stdio: 'pipe' | 'ignore' = 'ignore', ...more: string[]): Promise<this> {
    const options = this.user === 'root' ? [] : unshackled();
    const argv = ['bash', '-c', script, 'bash', 'python3', '-c', speakingProgram, this.#pidFile, ...more];
    const [file, ...rest] = [...as(this.user, ...options), ...argv];
    this.#child = spawn(file!, rest, { stdio: ['ignore', stdio, 'ignore'], detached: true });
    this.#child.stdout?.resume();
    await this.begun();
    return this;
  }

  /** As a job of a shell at a terminal. */
  async atTerminal(): Promise<Program> {
    const path = this.file('program.py', speakingProgram);
    const options = this.user === 'root' ? [] : unshackled();
    const session = await Program.start(
      this.user,
      options,
      'bash --norc -i',
      'python3',
      `python3 ${path} ${this.#pidFile} listen\n`,
    );
    await this.begun();
    return session;
  }

  async begun(): Promise<void> {
    await eventually('it has started', () => existsSync(this.#pidFile));
    this.pid = Number(readFileSync(this.#pidFile, 'utf8'));
  }

  /** A file of this user's. */
  file(name: string, content: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, content);
    chownSync(path, uids[this.user], uids[this.user]);
    return path;
  }

  leadsTo(fd: number): string {
    return readlinkSync(`/proc/${this.pid}/fd/${fd}`);
  }

  async dump(...options: string[]): Promise<void> {
    // Without --force, criuctl refuses the dump of a program whose stream is lost.
    must(criuctlAs(this.user, 'dump', `${this.pid}`, '--force', '-D', this.images, ...options));
    await eventually('it has ended', () => isFree(this.pid));
  }

  restore(...options: string[]): Ended {
    return criuctlAs(this.user, 'restore', '-D', this.images, ...options);
  }

  end(): void {
    if (this.pid > 0 && isAlive(this.pid)) endProcess(this.pid);
    this.#child?.kill('SIGKILL');
  }
}

/** Lines come, and go on coming. */
export async function gets(path: string, line: RegExp): Promise<void> {
  const lines = (): number => (existsSync(path) ? readFileSync(path, 'utf8') : '').match(line)?.length ?? 0;
  const before = lines();
  await eventually(`${path} gets more`, () => lines() > before + 3);
}
