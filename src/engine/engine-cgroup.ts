/**
 * The cgroup of an engine, which its caller cannot write: all processes that the engine forks can be found, frozen and ended
 * there.
 *
 * For a RESTORE it is a transient scope in the caller's slice, where the restored tree stays. For other requests of a confined
 * caller it is a directory below this service's own cgroup, which systemd has delegated to the service (Delegate=yes). See
 * cgroups(7) and Documentation/admin-guide/cgroup-v2.rst of the kernel: cgroup.freeze (Linux 5.2), cgroup.kill (5.14).
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

/** Retries of removing a directory: the kernel releases a cgroup shortly after its last process. */
const removeRetryMs = 20;
const removeRetries = 50;

/** Freezing takes until every task has noticed: microseconds, unless a task is in uninterruptible sleep. */
const freezePollMs = 1;

export class EngineCgroup {
  /** As in /proc/PID/cgroup. */
  readonly path: string;
  readonly #directory: string;
  readonly #isScope: boolean;

  private constructor(path: string, isScope: boolean) {
    this.path = path;
    this.#directory = join(unifiedMount(), path);
    this.#isScope = isScope;
  }

  /** Creates a cgroup below this service's own, for an engine that starts in it. */
  static below(kind?: ScopeKind): EngineCgroup {
    const mark = kind === 'page-server' ? pageServerMark : '';
    const cgroup = new EngineCgroup(join(ownCgroup(), `${enginePrefix}${mark}${newId()}`), false);
    mkdirSync(cgroup.#directory);
    return cgroup;
  }

  /**
   * For the engine of a tree that was verified and stays frozen until the engine has gone. While this directory exists, the tree
   * has not run: if the service is killed, its next start sees the directory.
   */
  static apartFrom(tree: EngineCgroup): EngineCgroup {
    const cgroup = new EngineCgroup(join(ownCgroup(), `${apartPrefix}${basename(tree.path)}`), false);
    mkdirSync(cgroup.#directory, { recursive: true });
    return cgroup;
  }

  /**
   * Ends frozen trees of earlier starts that never ran and belong to no session.
   * @param owned the cgroups of sessions that continue.
   * @returns the names of the ended trees' cgroups.
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

  /** Opens its directory, for {@link native.spawn}. */
  open(): OwnedFd {
    return native.open(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  /**
   * Moves a process into a new scope in a slice, or, without systemd, below this service's cgroup.
   * @param mayHold the restored tree may hold CAP_CHECKPOINT_RESTORE: it is root's, or its user holds the capability anyway.
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

  /**
   * Makes the next move of a process quick. If no process was moved for some 20 ms, a move waits for an RCU grace period
   * (percpu_down_write of cgroup_threadgroup_rwsem in kernel/cgroup/cgroup.c). Here the service is moved to where it is, on a thread.
   */
  static expectMove(): void {
    // One at a time, however many messages an engine sends: moves wait for each other, and their threads are shared with all users.
    if (EngineCgroup.#expecting) return;
    EngineCgroup.#expecting = true;
    const procs = join(unifiedMount(), ownCgroup(), 'cgroup.procs');
    writeElsewhere(procs, String(process.pid))
      // A failure costs the next move its wait, and nothing else.
      .catch(() => {})
      .then(() => {
        EngineCgroup.#expecting = false;
      });
  }

  static #expecting = false;

  /** Removes the directories of engines that exited while this service was not running. A directory with processes stays. */
  static removeEmpty(): void {
    try {
      for (const cgroup of EngineCgroup.#allBelow()) {
        if (!basename(cgroup.path).startsWith(apartPrefix)) cgroup.remove(0);
      }
    } catch {
      // Without cgroup v2 there are no directories.
    }
  }

  /**
   * Every process in a cgroup from {@link below}. @throws Error if the directories cannot be read, for example without cgroup v2.
   */
  static allMembers(): ReadonlySet<number> {
    return new Set(EngineCgroup.#allBelow().flatMap((cgroup) => cgroup.#membersIfThere()));
  }

  /** Every process in those of our scopes for which `which` is true. */
  static async membersOfScopes(which: (path: string) => boolean): Promise<number[]> {
    const pids: number[] = [];
    for await (const directory of ownScopes()) {
      if (!which(directory.slice(unifiedMount().length))) continue;
      const procs = await contentOf(join(directory, 'cgroup.procs'), 'latin1').catch((error) => {
        // The cgroup was removed, so it was empty.
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
   * Stops scopes that never had a process: their engine exited while systemd created them, and the service that asked for them
   * exited, too. systemd collects a scope when its last process leaves, and from these no process leaves (native/scope.cc).
   * @returns the names of the stopped scopes.
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

  /** A cgroup from an earlier start of this service. */
  static again(path: string, isScope: boolean): EngineCgroup {
    return new EngineCgroup(path, isScope);
  }

  /** The scope's name, for people; undefined for a plain directory. */
  get scope(): string | undefined {
    return this.#isScope ? basename(this.path) : undefined;
  }

  /** The pids of all processes in this cgroup. It has no child cgroups: only root could create one. */
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
      // The cgroup was removed, so it was empty.
      if (isGone(error)) return [];
      throw error;
    }
  }

  /**
   * Freezes all processes of the cgroup, and resolves when all have stopped.
   * @throws Error after the deadline; tasks that have stopped stay stopped.
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
   * Moves a process here. If another was moved just before, the kernel takes a tenth of a millisecond. Otherwise it waits for all
   * processors (RCU), so this is done off the event loop.
   * @throws Error if the process has gone (ESRCH).
   */
  async take(pid: number): Promise<void> {
    await writeElsewhere(join(this.#directory, 'cgroup.procs'), String(pid));
  }

  thaw(): void {
    this.#write('cgroup.freeze', '0');
  }

  /**
   * SIGKILL for every process in the cgroup, frozen or not, including those that are being forked. Never throws: a cgroup that
   * systemd has collected (ENOENT, ENODEV) is empty.
   */
  kill(): void {
    try {
      this.#write('cgroup.kill', '1');
    } catch {
      // The cgroup has gone.
    }
  }

  /** Removes a directory of ours as soon as it is empty; systemd collects scopes. */
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

/** node:fs/promises would cost a megabyte, and the service needs it nowhere else. */
const contentOf = promisify(readFile);
const namesIn = promisify(readdir);
const writeElsewhere = promisify(writeFile);

const enginePrefix = 'engine-';

const apartPrefix = `${enginePrefix}apart-`;

const mayHoldMark = 'capable-';

const pageServerMark = 'page-server-';

/** True for a scope whose processes may hold CAP_CHECKPOINT_RESTORE for as long as they live. */
export function mayHoldCapability(path: string): boolean {
  return new RegExp(`^criu-restore-${mayHoldMark}`).test(basename(path));
}

/** True for a cgroup where a page server works on after its session, with the capability of its engine. */
export function isPageServerCgroup(path: string): boolean {
  return (
    isEngineScope(path, 'page-server') ||
    path.startsWith(join(ownCgroup(), `${enginePrefix}${pageServerMark}`))
  );
}

let thisStart: string | undefined;
let nextId = 1;

/** A new part of a cgroup's name, unique on this machine. It begins with an id of this start of the service. */
function newId(): string {
  // Loaded here, because the first answer hardly ever needs it.
  thisStart ??= process.getBuiltinModule('node:crypto').randomBytes(6).toString('hex');
  return `${thisStart}-${nextId++}`;
}

/** True for a cgroup that was named by this start of the service, whether or not it exists yet. */
export function isOfThisStart(path: string): boolean {
  return thisStart !== undefined && basename(path).includes(`-${thisStart}-`);
}

/** ENODEV: the cgroup was removed while its file was open (kernfs). */
function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** The directories of all our scopes; an empty list without cgroup v2. */
function ownScopes(): AsyncIterable<string> | string[] {
  try {
    return scopesBelow(unifiedMount());
  } catch {
    return [];
  }
}

/** Scopes lie in slices, and slices in slices. */
async function* scopesBelow(directory: string): AsyncGenerator<string> {
  for (const name of await namesIn(directory).catch(() => [])) {
    if (scopeName.test(name)) yield join(directory, name);
    else if (name.endsWith('.slice')) yield* scopesBelow(join(directory, name));
  }
}

/** The reason to keep a scope when its engine has exited: a restored tree, or a page server that waits for its connection. */
export type ScopeKind = 'restore' | 'page-server';

const scopeName = /^criu-(restore|page-server)-[^/]+\.scope$/;

/** The errors of a machine without systemd, or without a bus to it. */
const noSystemd: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTCONN', 'EHOSTUNREACH']);

/** True for a cgroup from below(), and for its descendants. */
export function isEngineCgroup(path: string): boolean {
  return path.startsWith(join(ownCgroup(), enginePrefix));
}

/**
 * True for a scope of ours: it holds an engine or page server at work, or a verified tree. A user's own manager has its scopes
 * below a service, and may give them any name, so only scopes directly in slices count.
 */
export function isEngineScope(path: string, kind?: ScopeKind): boolean {
  const slices = path.split('/').filter((part) => part !== '');
  const scope = slices.pop() ?? '';
  if (kind !== undefined && scopeName.exec(scope)?.[1] !== kind) return false;
  return scopeName.test(scope) && slices.every((part) => part.endsWith('.slice'));
}

/**
 * The slice of a cgroup, as a unit name: the last `*.slice` before any other part.
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

/** This service's own cgroup; it stays the same while the service runs. */
export function ownCgroup(): string {
  own ??= /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1] ?? '/';
  return own;
}

let mount: string | undefined;

/** The mount point of the unified hierarchy: /sys/fs/cgroup on all but hybrid systems. */
export function unifiedMount(): string {
  mount ??= readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' - '))
    .find(([, after]) => after?.startsWith('cgroup2 '))?.[0]
    ?.split(' ')[4];
  if (mount === undefined) throw new Error('No cgroup v2 hierarchy is mounted');
  return mount;
}
