/**
 * The cgroup of one engine, which its caller cannot write: what the engine forks can be found, frozen and ended there.
 *
 * For a RESTORE it is a transient scope in the caller's slice, where the restored tree stays; for anything else of a confined
 * caller a directory below this service's own cgroup, which systemd has delegated to us (Delegate=yes).
 * See cgroups(7) and Documentation/admin-guide/cgroup-v2.rst of the kernel: cgroup.freeze (Linux 5.2), cgroup.kill (5.14).
 */
import {
  constants,
  mkdirSync,
  readdir,
  readdirSync,
  readFile,
  readFileSync,
  rmdirSync,
  writeFile,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { native, type OwnedFd } from '../native/binding.ts';

/** How often a directory is tried to be removed: the kernel lets it go a moment after its last process. */
const removeRetryMs = 20;
const removeRetries = 50;

/** Freezing takes as long as it takes every task to notice: microseconds, unless one sleeps uninterruptibly. */
const freezePollMs = 1;

export class EngineCgroup {
  /** As /proc/PID/cgroup names it. */
  readonly path: string;
  readonly #directory: string;
  readonly #isScope: boolean;

  private constructor(path: string, isScope: boolean) {
    this.path = path;
    this.#directory = join(unifiedMount(), path);
    this.#isScope = isScope;
  }

  /** A new one below this service's own, for an engine that starts in it. */
  static below(kind?: ScopeKind): EngineCgroup {
    const mark = kind === 'page-server' ? pageServerMark : '';
    const cgroup = new EngineCgroup(join(ownCgroup(), `${enginePrefix}${mark}${newId()}`), false);
    mkdirSync(cgroup.#directory);
    return cgroup;
  }

  /**
   * For the engine of a tree that was verified and is to stay frozen until the engine has gone. While this is there, the tree has not
   * run: a service that is killed meanwhile leaves the directory for the next start to see.
   */
  static apartFrom(tree: EngineCgroup): EngineCgroup {
    const cgroup = new EngineCgroup(join(ownCgroup(), `${apartPrefix}${basename(tree.path)}`), false);
    mkdirSync(cgroup.#directory, { recursive: true });
    return cgroup;
  }

  /**
   * Ends frozen trees of earlier starts that never ran, and that belong to no session any more.
   * @param owned the cgroups of the sessions that go on.
   * @returns the names of their cgroups.
   */
  static async endNeverRun(owned: ReadonlySet<string>): Promise<string[]> {
    const names = new Set([...owned].map((path) => basename(path)));
    const left = new Map<string, EngineCgroup>();
    for (const apart of EngineCgroup.#allBelow()) {
      const name = basename(apart.path);
      if (name.startsWith(apartPrefix) && !isOfThisStart(name))
        left.set(name.slice(apartPrefix.length), apart);
    }
    const ended: string[] = [];
    for (const name of names) left.delete(name);
    if (left.size === 0) return ended;
    for await (const directory of ownScopes()) {
      const name = basename(directory);
      if (!left.has(name)) continue;
      await writeElsewhere(join(directory, 'cgroup.kill'), '1').catch(() => {});
      ended.push(name);
    }
    for (const apart of left.values()) {
      apart.kill();
      apart.remove();
    }
    return ended;
  }

  /** Its directory, for {@link native.spawn}. */
  open(): OwnedFd {
    return native.open(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  /**
   * Moves a process into a new scope in a slice, or, where no systemd answers, below this service's cgroup.
   * @param mayHold what is restored there may hold the capability of engines: it is root's, or that of a user who holds it anyway.
   */
  static async scope(
    kind: ScopeKind,
    mayHold: boolean,
    slice: string,
    description: string,
    pid: number,
    lane: number,
  ): Promise<EngineCgroup> {
    try {
      const mark = kind === 'restore' && mayHold ? mayHoldMark : '';
      const name = `criu-${kind}-${mark}${newId()}.scope`;
      return new EngineCgroup(await native.startScope({ name, slice, description, pid, lane }), true);
    } catch (error) {
      if (!noSystemd.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      const cgroup = EngineCgroup.below(kind);
      try {
        cgroup.#write('cgroup.procs', String(pid));
      } catch (failure) {
        cgroup.remove();
        throw failure;
      }
      return cgroup;
    }
  }

  /** Removes the directories of engines that have left while this service was not there. What has somebody in it stays. */
  static removeEmpty(): void {
    try {
      for (const cgroup of EngineCgroup.#allBelow()) {
        if (!basename(cgroup.path).startsWith(apartPrefix)) cgroup.remove(0);
      }
    } catch {
      // Without cgroup v2 there are none.
    }
  }

  /** Every process in a cgroup that {@link below} has made. @throws Error where that cannot be read, as without cgroup v2. */
  static allMembers(): ReadonlySet<number> {
    return new Set(EngineCgroup.#allBelow().flatMap((cgroup) => cgroup.#membersIfThere()));
  }

  /** Every process in scopes of ours of which this is true. */
  static async membersOfScopes(which: (path: string) => boolean): Promise<number[]> {
    const pids: number[] = [];
    for await (const directory of ownScopes()) {
      if (!which(directory.slice(unifiedMount().length))) continue;
      const procs = await contentOf(join(directory, 'cgroup.procs'), 'latin1').catch((error) => {
        // Removed meanwhile: it was empty.
        if (isGone(error)) return '';
        throw error;
      });
      for (const line of procs.split('\n')) if (line !== '') pids.push(Number(line));
    }
    return pids;
  }

  static #allBelow(): EngineCgroup[] {
    return readdirSync(join(unifiedMount(), ownCgroup()))
      .filter((name) => name.startsWith(enginePrefix))
      .map((name) => new EngineCgroup(join(ownCgroup(), name), false));
  }

  /**
   * Stops the scopes that nobody ever was in: their engine ended while systemd put it there, and so did the service that asked
   * for it. systemd collects a scope when its last process leaves, and from these none does (native/scope.cc).
   * @returns the names of those that were stopped.
   */
  static async stopEmptyScopes(): Promise<string[]> {
    const stopped: string[] = [];
    for await (const directory of ownScopes()) {
      const name = basename(directory);
      const events = await contentOf(join(directory, 'cgroup.events'), 'latin1').catch(() => '');
      if (/^populated 0$/m.test(events) && (await native.stopEmptyScope(name, directory))) stopped.push(name);
    }
    return stopped;
  }

  /** One that an earlier start of this service has made. */
  static again(path: string, isScope: boolean): EngineCgroup {
    return new EngineCgroup(path, isScope);
  }

  /** The scope's name, for people; undefined for a plain directory. */
  get scope(): string | undefined {
    return this.#isScope ? basename(this.path) : undefined;
  }

  /** The pids of all processes in it, and in cgroups below it there are none: only root could have made one. */
  members(): number[] {
    return this.#read('cgroup.procs')
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  }

  #membersIfThere(): number[] {
    try {
      return this.members();
    } catch (error) {
      // Removed meanwhile: it was empty.
      if (isGone(error)) return [];
      throw error;
    }
  }

  /**
   * Stops everything in it, and resolves when all have stopped.
   * @throws Error when that takes longer than the deadline; what has stopped stays stopped.
   */
  async freeze(deadlineMs: number): Promise<void> {
    this.#write('cgroup.freeze', '1');
    const start = performance.now();
    while (!/^frozen 1$/m.test(this.#read('cgroup.events'))) {
      if (performance.now() - start > deadlineMs) throw new Error('Its tasks could not be frozen in time');
      await new Promise((resolve) => setTimeout(resolve, freezePollMs));
    }
  }

  /**
   * Moves a process here. Mostly one has been moved a moment before, and then this takes the kernel a tenth of a millisecond; else
   * it waits for all processors (RCU), and the event loop does not.
   * @throws Error when the process has gone (ESRCH).
   */
  async take(pid: number): Promise<void> {
    await writeElsewhere(join(this.#directory, 'cgroup.procs'), String(pid));
  }

  thaw(): void {
    this.#write('cgroup.freeze', '0');
  }

  /**
   * SIGKILL for every process in it, frozen or not, those that are being forked included. Never throws: a cgroup that systemd
   * collects meanwhile (ENOENT, ENODEV) has nothing left in it.
   */
  kill(): void {
    try {
      this.#write('cgroup.kill', '1');
    } catch {
      // Gone.
    }
  }

  /** Removes a directory of ours once it is empty; a scope is systemd's to collect. */
  remove(retries = removeRetries): void {
    if (this.#isScope) return;
    try {
      rmdirSync(this.#directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || retries === 0) return;
      setTimeout(() => this.remove(retries - 1), removeRetryMs);
    }
  }

  #read(file: string): string {
    return readFileSync(join(this.#directory, file), 'latin1');
  }

  #write(file: string, text: string): void {
    writeFileSync(join(this.#directory, file), text);
  }
}

/** Not those of node:fs/promises, which is a megabyte that the service never needs else. */
const contentOf = promisify(readFile);
const namesIn = promisify(readdir);
const writeElsewhere = promisify(writeFile);

const enginePrefix = 'engine-';

const apartPrefix = `${enginePrefix}apart-`;

const mayHoldMark = 'capable-';

const pageServerMark = 'page-server-';

/** True for a scope whose processes may hold the capability of engines for as long as they live. */
export function mayHoldCapability(path: string): boolean {
  return new RegExp(`^criu-restore-${mayHoldMark}`).test(basename(path));
}

/** True for where a page server works on when its session is over, with the capability of its engine. */
export function isPageServerCgroup(path: string): boolean {
  return (
    isEngineScope(path, 'page-server') ||
    path.startsWith(join(ownCgroup(), `${enginePrefix}${pageServerMark}`))
  );
}

let thisStart: string | undefined;
let nextId = 1;

/** No cgroup of this machine has it yet. It begins with what all of this start of the service have in common. */
function newId(): string {
  // Loaded here, because the first answer hardly ever needs it.
  thisStart ??= process.getBuiltinModule('node:crypto').randomBytes(6).toString('hex');
  return `${thisStart}-${nextId++}`;
}

/** True for a cgroup that this start of the service has named, whether or not it is there already. */
export function isOfThisStart(path: string): boolean {
  return thisStart !== undefined && basename(path).includes(`-${thisStart}-`);
}

/** ENODEV: it was removed while its file was open (kernfs). */
function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** The directories of all scopes of ours. Without cgroup v2 there are none. */
function ownScopes(): AsyncIterable<string> | string[] {
  try {
    return scopesBelow(unifiedMount());
  } catch {
    return [];
  }
}

/** They lie in slices, and slices in slices. */
async function* scopesBelow(directory: string): AsyncGenerator<string> {
  for (const name of await namesIn(directory).catch(() => [])) {
    if (scopeName.test(name)) yield join(directory, name);
    else if (name.endsWith('.slice')) yield* scopesBelow(join(directory, name));
  }
}

/** What stays in a scope when its engine has left: a restored tree, a page server that waits for its one connection. */
export type ScopeKind = 'restore' | 'page-server';

const scopeName = /^criu-(restore|page-server)-[^/]+\.scope$/;

/** What a machine without systemd, or without a bus to it, answers. */
const noSystemd: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTCONN', 'EHOSTUNREACH']);

/** True for a cgroup that below() made, and for one below it. */
export function isEngineCgroup(path: string): boolean {
  return path.startsWith(join(ownCgroup(), enginePrefix));
}

/**
 * True for a scope of ours, where an engine or a page server may be at work, or a tree that was verified. The scopes of a user's
 * own manager are below a service, and may have any name.
 */
export function isEngineScope(path: string, kind?: ScopeKind): boolean {
  const slices = path.split('/').filter((part) => part !== '');
  const scope = slices.pop() ?? '';
  if (kind !== undefined && scopeName.exec(scope)?.[1] !== kind) return false;
  return scopeName.test(scope) && slices.every((part) => part.endsWith('.slice'));
}

/**
 * The slice that a cgroup is in, as a unit name: the last `*.slice` before anything else.
 * `/user.slice/user-1000.slice/user@1000.service/app.slice` is in `user-1000.slice`; `/` in the root slice, `-.slice`.
 */
export function sliceOf(path: string): string {
  let slice = '-.slice';
  for (const part of path.split('/').filter((each) => each !== '')) {
    if (!part.endsWith('.slice')) break;
    slice = part;
  }
  return slice;
}

let own: string | undefined;

/** This service's own cgroup; it is not moved while it runs. */
export function ownCgroup(): string {
  own ??= /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1] ?? '/';
  return own;
}

let mount: string | undefined;

/** Where the unified hierarchy is mounted: /sys/fs/cgroup on all but hybrid systems. */
export function unifiedMount(): string {
  mount ??= readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' - '))
    .find(([, after]) => after?.startsWith('cgroup2 '))?.[0]
    ?.split(' ')[4];
  if (mount === undefined) throw new Error('No cgroup v2 hierarchy is mounted');
  return mount;
}
