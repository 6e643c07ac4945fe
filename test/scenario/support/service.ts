/** The bundled service as a separate process, with a scripted engine instead of criu. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const program = join(import.meta.dirname, '..', '..', '..', 'build', 'dist', 'criu-service.cjs');
const interpreter = join(import.meta.dirname, '..', '..', '..', 'build', 'test', 'scripted-engine');

/** Longer than anything takes on a busy machine: it only keeps a broken run from hanging. */
const patienceMs = 120_000;

export class ServiceUnderTest {
  readonly directory = mkdtempSync(join(tmpdir(), 'criu-scenario-'));
  readonly address = join(this.directory, 'socket');
  readonly script = join(this.directory, 'engine');
  readonly #pidFile = join(this.directory, 'pid');
  readonly #statusFile = join(this.directory, 'status');
  readonly #nodeOptions: readonly string[];
  pid = 0;
  stderr = '';

  /** @param nodeOptions of V8, for example. */
  constructor(...nodeOptions: string[]) {
    this.#nodeOptions = nodeOptions;
  }

  /**
   * Starts the service and waits until it reports that it is ready. The service is no descendant of the tests: a self dump dumps
   * the tests' own tree, which must not contain the service.
   */
  async start(...options: string[]): Promise<this> {
    if (!existsSync(this.script)) this.engine();
    rmSync(this.#statusFile, { force: true });
    const words = [program, '--address', this.address, '--criu', this.script, '--status-fd', '3', '-v4'];
    // A scripted engine reads its script when it starts, so it must start with its request.
    words.push('--engines-ahead', '0');
    const starter = spawn(
      'setsid',
      [
        '-f',
        'sh',
        '-c',
        `"$@" & exec 3>&-; wait $!; echo $? >${this.#statusFile}`,
        'sh',
        process.execPath,
        ...this.#nodeOptions,
        ...words,
        ...options,
        '--pid-file',
        this.#pidFile,
      ],
      { stdio: ['ignore', 'ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH } },
    );
    starter.stderr?.on('data', (text) => {
      this.stderr += text;
    });
    await new Promise<void>((resolve, reject) => {
      let ready = false;
      starter.stdio[3]?.once('data', () => {
        ready = true;
      });
      // The service closes this descriptor, too. All descriptors that it holds after that are held when idle.
      starter.stdio[3]?.once('end', () => {
        if (ready) resolve();
        else reject(new Error(`The service did not start: ${this.stderr}`));
      });
    });
    this.pid = Number(readFileSync(this.#pidFile, 'utf8'));
    return this;
  }

  /** Sets the steps of the next engine, a step a line (scripted-engine.c). */
  engine(...steps: string[]): void {
    this.replaceEngine([`#!${interpreter}`, ...steps, ''].join('\n'));
    for (const left of ['log', 'told']) rmSync(`${this.script}.${left}`, { force: true });
  }

  /** Replaces the file by a rename, because a file that is being executed cannot be written (ETXTBSY). */
  replaceEngine(script: string): void {
    writeFileSync(`${this.script}.new`, script);
    chmodSync(`${this.script}.new`, 0o755);
    renameSync(`${this.script}.new`, this.script);
  }

  /** Lets an engine go on whose script has the step `until told`. */
  tell(): void {
    writeFileSync(`${this.script}.told`, '');
  }

  /** The packets that engines received since engine() was called; `eof` is an end of file. */
  received(): (Buffer | 'eof')[] {
    if (!existsSync(`${this.script}.log`)) return [];
    const lines = readFileSync(`${this.script}.log`, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => (line === 'eof' ? line : Buffer.from(line, 'hex')));
  }

  openFds(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  /** Connections among its descriptors. It opens others now and then, as for its question for the version of criu. */
  sockets(): number {
    return readdirSync(`/proc/${this.pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${this.pid}/fd/${fd}`).startsWith('socket:');
      } catch {
        return false;
      }
    }).length;
  }

  residentKiB(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]);
  }

  /** Its engines, and no criu that it asks for the version. */
  children(): string[] {
    return readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== '' && !isAskedForVersion(pid));
  }

  /** The children that are engines for certain, without those that have ended, or are about to become programs. */
  engines(): string[] {
    return this.children().filter((pid) => wordsOf(pid).includes('swrk'));
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** It may have ended already, and its status is on its way to the file. */
  #terminate(): void {
    try {
      this.signal('SIGTERM');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  /** @returns the exit status, as the shell counts it. */
  async ended(): Promise<number> {
    await eventually('the service ends', () => existsSync(this.#statusFile));
    return Number(readFileSync(this.#statusFile, 'utf8'));
  }

  /** Ends the service if it still runs, and removes its files. */
  async stop(): Promise<void> {
    if (this.pid !== 0 && !existsSync(this.#statusFile)) this.#terminate();
    if (this.pid !== 0) await this.ended();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function isAskedForVersion(pid: string): boolean {
  return wordsOf(pid).includes('--version');
}

/** The command line of a process; nothing of a process that has ended. */
function wordsOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Polls until `condition` holds. */
export async function eventually(what: string, condition: () => boolean): Promise<void> {
  for (const start = Date.now(); !condition(); ) {
    if (Date.now() - start > patienceMs) throw new Error(`It never came to pass that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
