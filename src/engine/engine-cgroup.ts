/**
 * The cgroup of an engine, which its caller cannot write: all processes that the engine forks can be found, frozen and ended
 * there.
 *
 * It lies below the cgroup of the caller (src/policy/place.ts), is a transient scope in the caller's slice, or lies below this
 * service's own cgroup, which systemd has delegated to the service (Delegate=yes). See cgroups(7) and
 * Documentation/admin-guide/cgroup-v2.rst of the kernel: cgroup.freeze (Linux 5.2), cgroup.kill (5.14).
 */
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFile,
  readFileSync,
  rmdirSync,
  watch,
  writeFile,
  writeFileSync,
} from 'node:fs';
import { constants as os } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { native, type OwnedFd } from '../native/binding.ts';
import { startDeadline } from '../proc/deadline.ts';
import {
  apartName,
  type CgroupKind,
  isOfThisStart,
  nestedKind,
  newId,
  newName,
  type ScopeKind,
  type TreeOwner,
  treeOfApart,
} from './cgroup-names.ts';
import { cgroupRegister, type NestedKind } from './cgroup-register.ts';
import {
  apartPrefix,
  enginePrefix,
  isGone,
  ownCgroup,
  ownScopes,
  pageServerMark,
  unifiedMount,
} from './our-cgroups.ts';

/** Retries of removing a directory: the kernel releases a cgroup shortly after its last process. */
const removeRetryMs = 20;
const removeRetries = 50;
const laterMs = 60_000;

/** systemd removes the cgroup of a unit 3 to 70 ms after its last process (measured on a busy machine). */
const unitEndsMs = 2_000;

/** Freezing takes until every task has noticed: microseconds, unless a task is in uninterruptible sleep. */
const freezePollMs = 1;

export class EngineCgroup {
  /** As in /proc/PID/cgroup. */
  readonly path: string;
  readonly #directory: string;
  readonly #isScope: boolean;
  /** It lies below the cgroup of its caller, who may own that one. */
  readonly #isNested: boolean;

  private constructor(path: string, isScope: boolean) {
    this.path = path;
    this.#directory = join(unifiedMount(), path);
    this.#isScope = isScope;
    this.#isNested = !isScope && nestedKind(basename(path)) !== undefined;
  }

  /**
   * Creates a cgroup below that of a caller. The kernel hands no controller down to it, so that the caller's own limits hold.
   */
  static within(parent: string, kind: CgroupKind, owner: TreeOwner): EngineCgroup {
    const cgroup = new EngineCgroup(join(parent, newName(kind, owner)), false);
    cgroup.#make();
    return cgroup;
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
    const name = basename(tree.path);
    const path = tree.#isNested
      ? join(dirname(tree.path), apartName(name))
      : join(ownCgroup(), `${apartPrefix}${name}`);
    const cgroup = new EngineCgroup(path, false);
    cgroup.#make();
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
      const name = apart.#apartOf;
      if (name !== undefined && !isOfThisStart(name)) left.set(name, apart);
    }
    const ended: string[] = [];
    for (const name of names) left.delete(name);
    if (left.size === 0) return ended;
    for (const tree of EngineCgroup.#nested('restore')) {
      const name = basename(tree.path);
      if (!left.has(name)) continue;
      tree.kill();
      tree.remove();
      ended.push(name);
    }
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
    return this.#inside((directory) => native.open(directory, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /**
   * Moves a process into a new scope in a slice, or, without systemd, below this service's cgroup.
   */
  static async scope(
    kind: ScopeKind,
    owner: TreeOwner,
    slice: string,
    description: string,
    pid: number,
    lane: number,
  ): Promise<EngineCgroup> {
    try {
      const name = `${newName(kind, owner)}.scope`;
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
      for (const cgroup of EngineCgroup.#allBelow()) if (cgroup.#apartOf === undefined) cgroup.remove(0);
      for (const cgroup of EngineCgroup.#nested('restore', 'page-server')) cgroup.removeWhenEmpty();
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

  /** Every process in those cgroups of restored trees and page servers for which `which` is true. */
  static async membersOfTrees(which: (path: string) => boolean): Promise<number[]> {
    const pids: number[] = [];
    for (const cgroup of EngineCgroup.#nested('restore', 'page-server')) {
      if (which(cgroup.path)) pids.push(...cgroup.#membersIfThere());
    }
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

  /** The cgroups of engines below this service's own, and below those of callers. */
  static #allBelow(): EngineCgroup[] {
    return readdirSync(join(unifiedMount(), ownCgroup()))
      .filter((name) => name.startsWith(enginePrefix))
      .map((name) => new EngineCgroup(join(ownCgroup(), name), false))
      .concat(EngineCgroup.#nested('engine', 'apart'));
  }

  static #nested(...kinds: readonly NestedKind[]): EngineCgroup[] {
    return cgroupRegister.of(...kinds).map((path) => new EngineCgroup(path, false));
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
    let late = false;
    const stop = startDeadline(deadlineMs, () => {
      late = true;
    });
    try {
      while (!/^frozen 1$/m.test(this.#read('cgroup.events'))) {
        if (late) throw new Error('Its tasks could not be frozen in time');
        await new Promise((resolve) => setTimeout(resolve, freezePollMs));
      }
    } finally {
      stop();
    }
  }

  /**
   * Moves a process here. If another was moved just before, the kernel takes a tenth of a millisecond. Otherwise it waits for all
   * processors (RCU), so this is done off the event loop.
   * @throws Error if the process has gone (ESRCH).
   */
  async take(pid: number): Promise<void> {
    const directory = this.open();
    try {
      await writeElsewhere(`/proc/self/fd/${directory.number}/cgroup.procs`, String(pid));
    } finally {
      directory.close();
    }
  }

  thaw(): void {
    this.#write('cgroup.freeze', '0');
  }

  /**
   * SIGKILL for every process in the cgroup, frozen or not, including those that are being forked. Never throws.
   * @returns false if that failed: the cgroup has gone, or another is in its place.
   */
  kill(): boolean {
    try {
      this.#write('cgroup.kill', '1');
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Removes a directory of ours as soon as it is empty; systemd collects scopes.
   *
   * If the unit around it has no process left, systemd comes first: it removes all directories of the unit. When one of several
   * vanishes during that, systemd 257 leaves the others and the unit's own for ever (cg_trim: nftw(3) ends with ENOENT).
   */
  remove(retries = removeRetries): void {
    if (this.#isScope) return;
    if (this.#isNested && !isPopulated(dirname(this.#directory)))
      setTimeout(() => this.#removeNow(0), unitEndsMs).unref();
    else this.#removeNow(retries);
  }

  #removeNow(retries: number): void {
    try {
      this.#inside(() => rmdirSync(this.#directory));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        if (retries > 0) setTimeout(() => this.remove(retries - 1), removeRetryMs);
        // The caller's unit may give its processes hardly any time to end.
        else if (this.#isNested) setTimeout(() => this.removeWhenEmpty(), laterMs).unref();
        return;
      }
    }
    // It was removed, here or together with the unit around it.
    cgroupRegister.remove(this.path);
  }

  /** Removes a directory of ours when its last process has left: a restored tree, a page server. */
  removeWhenEmpty(): void {
    if (!this.#isNested) {
      this.remove();
      return;
    }
    try {
      const watcher = watch(join(this.#directory, 'cgroup.events'), { persistent: false }, () => {
        if (this.#isPopulated) return;
        watcher.close();
        this.remove();
      });
      watcher.on('error', () => watcher.close());
      if (this.#isPopulated) return;
      watcher.close();
    } catch {
      // The directory was removed, or nothing can be watched: a later start removes it.
    }
    this.remove();
  }

  get #isPopulated(): boolean {
    try {
      return hasProcesses(this.#read('cgroup.events'));
    } catch {
      return false;
    }
  }

  /** The name of the tree whose engine is moved here; undefined for any other cgroup. */
  get #apartOf(): string | undefined {
    const name = basename(this.path);
    return this.#isNested
      ? treeOfApart(name)
      : name.startsWith(apartPrefix)
        ? name.slice(apartPrefix.length)
        : undefined;
  }

  #make(): void {
    if (this.#isNested) cgroupRegister.add(this.path);
    try {
      mkdirSync(this.#directory);
    } catch (error) {
      // An earlier start of this service was killed after it had made the cgroup.
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
      cgroupRegister.remove(this.path);
      // The caller's unit has ended, or the caller has removed the cgroup above.
      if (isGone(error)) throw goneError(this.path);
      throw (error as NodeJS.ErrnoException).code === 'EAGAIN' ? tooManyError(dirname(this.path)) : error;
    }
  }

  /**
   * Calls with the name of the directory that this service has made. The owner of the cgroup above may remove ours while it is empty,
   * and put another with the same name there, but cannot make one of root's.
   * @throws Error with the code ENOENT if it has gone.
   */
  #inside<T>(use: (directory: string) => T): T {
    if (!this.#isNested) return use(this.#directory);
    const fd = this.#openNested();
    try {
      if (fstatSync(fd).uid !== process.geteuid!()) throw goneError(this.path);
      return use(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  }

  #openNested(): number {
    try {
      return openSync(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      throw isGone(error) ? goneError(this.path) : error;
    }
  }

  #read(file: string): string {
    return this.#inside((directory) => readFileSync(join(directory, file), 'latin1'));
  }

  #write(file: string, text: string): void {
    this.#inside((directory) => writeFileSync(join(directory, file), text));
  }
}

/** True if a process is in the cgroup or below it; false for a cgroup that has gone. */
function isPopulated(directory: string): boolean {
  try {
    return hasProcesses(readFileSync(join(directory, 'cgroup.events'), 'latin1'));
  } catch {
    return false;
  }
}

/** @param events the content of cgroup.events. */
function hasProcesses(events: string): boolean {
  return /^populated 1$/m.test(events);
}

function goneError(path: string): Error {
  return Object.assign(new Error(`its cgroup ${path} has gone, with the unit of its caller or by its user`), {
    code: 'ENOENT',
  });
}

function tooManyError(parent: string): Error {
  const limits = 'cgroup.max.descendants or cgroup.max.depth';
  const message = `no cgroup can be made in ${parent}: ${limits} there, or above, allows no more`;
  return Object.assign(new Error(message), { code: 'EAGAIN', errno: -os.errno.EAGAIN });
}

/** node:fs/promises would cost a megabyte, and the service needs it nowhere else. */
const contentOf = promisify(readFile);
const writeElsewhere = promisify(writeFile);

/** The errors of a machine without systemd, or without a bus to it. */
const noSystemd: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTCONN', 'EHOSTUNREACH']);
