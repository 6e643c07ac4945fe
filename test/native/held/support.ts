/** A process that acquires things, and the service's reading of them. */
import { strict as assert } from 'node:assert';
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { readOwnState } from '../../../src/proc/caller.ts';
import { type HeldReader, whyHeld } from '../../../src/session/trees/why-held.ts';

export const alice = 61500;
export const bob = 61501;

/** A directory that every user may search, with the compiled programs in it. */
export class Bench {
  readonly directory = mkdtempSync(join(tmpdir(), 'criu-service-held-'));
  readonly #holders: Holder[] = [];

  constructor() {
    chmodSync(this.directory, 0o755);
    const sources = { holder: join(import.meta.dirname, 'holder.c'), 'silent-mount': silentMount };
    for (const [name, source] of Object.entries(sources)) {
      const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-static', '-pthread'];
      execFileSync('gcc', [...flags, '-o', this.path(name), source], { stdio: 'inherit' });
    }
  }

  path(...names: string[]): string {
    return join(this.directory, ...names);
  }

  /** Runs as root until it becomes another user. */
  start(program = this.path('holder')): Holder {
    const holder = new Holder(program);
    this.#holders.push(holder);
    return holder;
  }

  /** A copy of the program with another mode. */
  copyOfHolder(name: string, mode: number): string {
    copyFileSync(this.path('holder'), this.path(name));
    chmodSync(this.path(name), mode);
    return this.path(name);
  }

  /** A file of the given owner, in a directory of root's with this mode. */
  fileOf(owner: number, mode: number, name: string, directory = 0o755): string {
    mkdirSync(this.path(name), { recursive: true });
    const path = this.path(name, 'file');
    writeFileSync(path, 'x'.repeat(4096));
    chownSync(path, owner, owner);
    chmodSync(path, mode);
    chmodSync(this.path(name), directory);
    return path;
  }

  /** A holder that acquires things as root and then becomes alice. */
  async holding(...commands: (string | number)[][]): Promise<Holder> {
    const holder = this.start();
    for (const words of commands) await holder.do(...words);
    await holder.do('become', alice);
    return holder;
  }

  async endHolders(): Promise<void> {
    for (const holder of this.#holders.splice(0)) await holder.end();
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const silentMount = join(import.meta.dirname, '..', 'launcher', 'silent-mount.c');

export class Holder {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<unknown>;
  readonly #interface: Interface;
  readonly #lines: AsyncIterator<string>;

  constructor(program: string) {
    this.#child = spawn(program, { cwd: '/', env: {} });
    this.#closed = once(this.#child, 'close');
    this.#interface = createInterface(this.#child.stdout);
    this.#lines = this.#interface[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** @returns the value of its answer. */
  async do(...words: (string | number)[]): Promise<number> {
    this.#child.stdin.write(`${words.join(' ')}\n`);
    const { value, done } = await this.#lines.next();
    assert.ok(!done, `it ended at ${words.join(' ')}`);
    const [kind, number] = (value as string).split(' ');
    assert.equal(kind, 'ok', `${words.join(' ')}: ${value}`);
    return Number(number);
  }

  /** The link of a mapping that was made at this address. */
  mapping(address: number): string {
    const begin = `${(BigInt(address) & 0xffffffffffffffffn).toString(16)}-`;
    const directory = `/proc/${this.pid}/map_files`;
    const range = readdirSync(directory).find((name) => name.startsWith(begin));
    assert.ok(range !== undefined, `nothing is mapped at ${begin}`);
    return join(directory, range);
  }

  /** The kernel's name for a descriptor of the holder. */
  target(fd: number): string {
    return readlinkSync(`/proc/${this.pid}/fd/${fd}`);
  }

  /** The holder may have exited before. */
  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
    this.#interface.close();
  }
}

/** The identity of the asking user, as the service knows the caller of a restore. */
export function caller(uid: number, ...groups: number[]): Parameters<typeof whyHeld>[2] {
  const { namespaces } = readOwnState().threads[0]!;
  return {
    uid,
    gid: uid,
    groups,
    traits: {
      permitted: 0n,
      bounding: 0n,
      inheritable: 0n,
      ambient: 0n,
      noNewPrivs: false,
      umask: 0,
      label: undefined,
    },
    surroundings: { namespaces },
  };
}

/** The reason why holders cannot run as alice. */
export function refusal(
  holders: readonly Holder[],
  { engine = 0, who = caller(alice), reader }: Looked = {},
): Promise<string | undefined> {
  const pids = holders.map(({ pid }) => pid);
  return whyHeld(engine === 0 ? pids : [engine, ...pids], engine, who, reader);
}

interface Looked {
  readonly engine?: number;
  readonly who?: ReturnType<typeof caller>;
  readonly reader?: HeldReader;
}
