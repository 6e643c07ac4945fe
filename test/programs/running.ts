/** A program of the battery at work: it is started as its user, looked at, restored, asked if it works, and ended. */
import type { ChildProcess } from 'node:child_process';
import { chownSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { directoryOf, type User, uids } from '../hostile/support/people.ts';
import { childrenOf, endProcess, isAlive } from '../system/support/proc.ts';
import type { Call, Judgement } from './outcome.ts';
import { type Program, progress } from './program.ts';
import { type Ended, type Place, runAs, shackles, shell, start } from './shell.ts';

export interface Told {
  readonly verdict: Judgement;
  readonly options: readonly string[];
  readonly restoreOptions: readonly string[];
}

/** Bounds for events that come soon, on a machine that may be busy. */
const patienceMs = 60_000;
/** A program that has ended does not begin to work. */
const afterEndMs = 3_000;
const stepMs = 100;

export class Running {
  readonly #program: Program;
  place: Place;
  readonly #started = new Set<number>();
  #terminal: ChildProcess | undefined;
  pid = 0;

  constructor(program: Program, user: User, port: number) {
    this.#program = program;
    const directory = directoryOf(user);
    this.place = { user, directory, variables: { PORT: String(port) } };
    for (const [name, text] of Object.entries(program.files ?? {})) {
      const path = join(directory, name);
      writeFileSync(path, text, { mode: 0o755 });
      chownSync(path, uids[user], uids[user]);
    }
  }

  async start(): Promise<void> {
    const { at = 'file', start: command, pid, ready, prepare } = this.#program;
    const child = start(this.place, at, command, ...shackles[this.place.user]);
    this.#started.add(child.pid!);
    if (at === 'terminal') this.#terminal = child;
    const isReady = await until(
      () => shell(this.place, ready).status === 0,
      () => child.exitCode === null || pid !== undefined,
    );
    if (!isReady) throw new Error(`it did not begin to work: ${this.#output()}`);
    const printed = pid === undefined ? undefined : shell(this.place, pid);
    if (printed) this.pid = Number(printed.stdout);
    else this.pid = at === 'terminal' ? childrenOf(child.pid!)[0]! : child.pid!;
    if (!Number.isInteger(this.pid) || !isAlive(this.pid))
      throw new Error(`no pid: ${JSON.stringify(printed)}`);
    this.set({ PID: String(this.pid), PHASE: 'before' });
    if (prepare !== undefined) {
      const ended = shell(this.place, prepare);
      if (ended.status !== 0) throw new Error(`its preparation failed: ${lastLine(ended.stderr)}`);
    }
    this.#type();
    if (!(await this.works())) throw new Error(`it did not work before the dump: ${this.#output()}`);
  }

  look(): Told {
    const ended = runAs(this.place, 'criuctl', 'look', `${this.pid}`, '--json');
    try {
      return JSON.parse(ended.stdout);
    } catch {
      throw new Error(`criuctl look: ${ended.stderr}`);
    }
  }

  dump(images: string, ...options: string[]): Call {
    const { by } = this.#program;
    if (by) return callOf(shell(this.#with(images), by.dump));
    return callOf(runAs(this.place, 'criuctl', 'dump', `${this.pid}`, '-D', images, ...options));
  }

  async restore(images: string, options: readonly string[]): Promise<Call> {
    const { by } = this.#program;
    if (by) return callOf(shell(this.#with(images), by.restore));
    const argv = ['restore', '-D', images, ...options];
    if (this.#terminal === undefined) return callOf(runAs(this.place, 'criuctl', ...argv));
    const pidFile = join(this.place.directory, 'restored.pid');
    const child = start(this.place, 'terminal', `exec criuctl ${argv.join(' ')} --pidfile ${pidFile}`);
    this.#started.add(child.pid!);
    this.#terminal = child;
    const isBack = await until(
      () => existsSync(pidFile),
      () => child.exitCode === null,
    );
    return { status: isBack ? 0 : child.exitCode, sentence: isBack ? '' : this.#output() };
  }

  #with(images: string): Place {
    return { ...this.place, variables: { ...this.place.variables, IMAGES: images } };
  }

  set(variables: Readonly<Record<string, string>>): void {
    this.place = { ...this.place, variables: { ...this.place.variables, ...variables } };
  }

  #type(): void {
    if (this.#program.keys !== undefined) this.#terminal?.stdin?.write(this.#program.keys);
  }

  async works(patience = patienceMs): Promise<boolean> {
    const { works, keys } = this.#program;
    const before = this.#progress();
    let asked = 0;
    return until(
      () => {
        // Keys may be lost while a terminal changes its modes.
        if (keys !== undefined && asked++ % 20 === 1) this.#type();
        return works === progress ? this.#progress() !== before : shell(this.place, works).status === 0;
      },
      () => isAlive(this.pid),
      patience,
    );
  }

  #progress(): string {
    try {
      return readFileSync(join(this.place.directory, progress), 'latin1');
    } catch {
      return '';
    }
  }

  #output(): string {
    const name = this.#terminal ? 'screen' : 'output';
    try {
      return lastLine(readFileSync(join(this.place.directory, name), 'utf8'));
    } catch {
      return '';
    }
  }

  rememberTree(): void {
    for (const pid of treeOf(this.pid)) this.#started.add(pid);
  }

  end(): void {
    this.#started.add(this.pid);
    const all = new Set([...this.#started].filter((pid) => pid > 1).flatMap(treeOf));
    for (const pid of all) endProcess(pid);
  }
}

export function treeOf(pid: number): number[] {
  try {
    return [pid, ...childrenOf(pid).flatMap(treeOf)];
  } catch {
    return [];
  }
}

export function callOf({ status, stdout, stderr }: Ended): Call {
  return { status, sentence: (stderr || stdout).trim() };
}

export function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}

/** Waits until a condition holds, a little longer than the process lives that is to bring it about, and not for ever. */
export async function until(
  condition: () => boolean,
  lives: () => boolean = () => true,
  patience = patienceMs,
): Promise<boolean> {
  const limit = Date.now() + patience;
  let ended: number | undefined;
  for (;;) {
    if (condition()) return true;
    if (!lives()) ended ??= Date.now();
    const now = Date.now();
    if (now > limit || (ended !== undefined && now > ended + afterEndMs)) return false;
    await new Promise((resolve) => setTimeout(resolve, stepMs));
  }
}
