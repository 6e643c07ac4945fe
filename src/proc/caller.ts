/**
 * The caller: the identity that the kernel fixed at connect(2), and the state of its process when a packet has arrived.
 *
 * Only the socket's credentials are fixed at connect; the process behind them may have executed `su`, or a program with file
 * capabilities, since. So everything else is read when the packet has arrived, through a directory fd of /proc/PID that is bound
 * to the peer's pidfd, in every thread, and twice.
 */
import { constants, readdirSync } from 'node:fs';
import { constants as os } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import {
  native,
  type OwnedFd,
  type ProcAnswer,
  type ProcQuestion,
  type SeqpacketSocket,
} from '../native/binding.ts';
import { answerAtOnce, breath, lines, type ProcReading, required } from './reading.ts';
import { parseAuxvSecure, parseThreadStatus, type ThreadStatus } from './status.ts';

/** Fixed by the kernel when the caller connected (unix(7): SO_PEERCRED, SO_PEERGROUPS, SO_PEERSEC). */
export interface CallerIdentity {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups, ascending. */
  readonly groups: readonly number[];
  /** LSM label; undefined without an LSM that labels sockets. */
  readonly label: string | undefined;
}

/**
 * The process that connected. Owns its pidfd, which shows if the pid still means the same process, and a directory fd of its
 * /proc/PID; both are lent to all who read or become the caller.
 */
export class Caller {
  readonly identity: CallerIdentity;
  /** The peer's pidfd. */
  readonly pidfd: OwnedFd;
  /** False where the kernel has no SO_PEERPIDFD (Linux < 6.5): then the pid may have been reused before it was opened here. */
  readonly bound: boolean;
  #directory: OwnedFd | undefined;
  #closed = false;

  /** Takes over `pidfd`. */
  constructor(identity: CallerIdentity, pidfd: OwnedFd, bound: boolean) {
    this.identity = identity;
    this.pidfd = pidfd;
    this.bound = bound;
  }

  /** True while the process is alive. */
  get isThere(): boolean {
    return !this.#closed && native.isAlive(this.pidfd);
  }

  /**
   * A directory fd of /proc/PID, opened at the first use. It stays with its process: if the pidfd is alive after the open, the
   * directory belongs to the caller.
   * @throws CallerGoneError
   */
  get directory(): OwnedFd {
    const { pid } = this.identity;
    // A reading may still be queued when the session closes the caller.
    if (this.#closed) throw new CallerGoneError(`Process ${pid} has gone`);
    try {
      this.#directory ??= native.open(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      throw new CallerGoneError(`Process ${pid} has gone`, { cause: error });
    }
    if (!this.isThere) throw new CallerGoneError(`Process ${pid} has gone`);
    return this.#directory;
  }

  close(): void {
    this.#closed = true;
    this.pidfd.close();
    this.#directory?.close();
  }
}

export interface ThreadState extends ThreadStatus {
  /**
   * For example `pid` -> `pid:[4026531836]`: all namespaces that the kernel has, or for root those that its standing depends on.
   */
  readonly namespaces: Readonly<Record<string, string>>;
  /** The root directory as this service sees it, with the id of its mount: `/ mnt_id 28`; not read for root. */
  readonly root?: string;
}

/** The state of a process, read from /proc. */
export interface CallerState {
  /** One entry for each thread: credentials, namespaces and root directories are per thread. */
  readonly threads: readonly ThreadState[];
  /** AT_SECURE of the auxiliary vector: the program was started across a privilege boundary (getauxval(3)). */
  readonly secureExec: boolean;
  /** The current LSM label; undefined without one. */
  readonly label: string | undefined;
}

/** The caller has gone, or cannot be read. */
export class CallerGoneError extends Error {
  override readonly name = 'CallerGoneError';
}

/** A caller with more threads is refused: reading it would take seconds for each request. */
export const maxCallerThreads = 1024;

/**
 * Takes the identity that the kernel fixed on a connection.
 * @throws CallerGoneError when the peer is in a pid namespace that is invisible here (pid 0).
 * @throws NativeError when the peer has gone.
 */
export function identifyCaller(socket: SeqpacketSocket): Caller {
  const { pid, uid, gid } = socket.peerCredentials();
  const identity = { pid, uid, gid, groups: socket.peerGroups(), label: socket.peerSecurityLabel() };
  if (pid === 0) {
    throw new CallerGoneError('The caller is in a pid namespace that this service cannot see into');
  }
  const pidfd = socket.peerPidfd();
  return pidfd ? new Caller(identity, pidfd, true) : new Caller(identity, native.pidfdOpen(pid), false);
}

/**
 * Reads the state of the caller twice. Threads start and exit in an honest program, too: each thread in either reading counts,
 * and a thread in both readings must be the same in both.
 * @throws CallerGoneError
 */
export function* readTwice(pid: number, depth: Depth): ProcReading<CallerState> {
  try {
    const [first, second] =
      (yield* readSingleThreaded(pid, depth)) ?? ([yield* readOnce(depth), yield* readOnce(depth)] as const);
    const agreed = agree(first, second);
    if (agreed === undefined) {
      throw new CallerGoneError(`Process ${pid} changed its credentials while they were read`);
    }
    return agreed;
  } catch (error) {
    if (error instanceof CallerGoneError) throw error;
    throw new CallerGoneError(`Process ${pid} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

function agree(first: CallerState, second: CallerState): CallerState | undefined {
  if (first.secureExec !== second.secureExec || first.label !== second.label) return undefined;
  const before = new Map(first.threads.map((thread) => [thread.tid, thread]));
  for (const thread of second.threads) {
    const same = before.get(thread.tid);
    if (same !== undefined && !isDeepStrictEqual(same, thread)) return undefined;
    before.delete(thread.tid);
  }
  return { ...second, threads: [...second.threads, ...before.values()] };
}

/**
 * True if each thread of a process with uid 0 holds everything that this service holds, as far as files show that never block.
 * Then the process is as good as root, and may be read like root.
 */
export function* looksPrivileged(own: CallerState): ProcReading<boolean> {
  const held = own.threads[0]?.effective ?? ~0n;
  const [names] = yield [{ read: 'names', path: 'task' }];
  const tids = lines(required(names));
  if (tids.length > maxCallerThreads) return false;
  const texts = yield tids.map((tid) => ({ read: 'file', path: `task/${tid}/status` }));
  return texts.every((text) => {
    // A thread that has exited holds nothing. If reading fails for another reason, the thread may hold less.
    if (typeof text === 'number') return hasEnded(text);
    const { effective, seccomp, noNewPrivs } = parseThreadStatus(text);
    return (effective & held) === held && seccomp === 0 && !noNewPrivs;
  });
}

/** The state of this service: the measure for "fully privileged". */
export function readOwnState(): CallerState {
  return answerAtOnce(readOnce('user'), '/proc/self');
}

/**
 * Most callers have a single thread, whose questions are known beforehand. Then both readings are sent together, and need a
 * single native thread that may hang.
 * @returns undefined for any other caller, or if the answers do not fit.
 */
function* readSingleThreaded(
  pid: number,
  depth: Depth,
): ProcReading<readonly [CallerState, CallerState] | undefined> {
  const namespaces = depth === 'user' ? kernelNamespaces() : namespacesOf(depth, undefined);
  const round: readonly ProcQuestion[] = [
    { read: 'names', path: 'task' },
    ...namesOfNamespaces(depth),
    { read: 'file', path: 'auxv' },
    { read: 'file', path: 'attr/current' },
    ...questionsOf(`task/${pid}/`, namespaces, depth),
  ];
  const answers = yield [...round, ...round];
  const states = [answers.slice(0, round.length), answers.slice(round.length)].map((its) => {
    const ns = depth === 'user' ? its.splice(1, 1)[0] : undefined;
    const [tids, auxv, label, ...thread] = its;
    const isAlone = tids === `${pid}\n` && !thread.some(hasEnded);
    const isKnown = depth !== 'user' || lines(required(ns)).sort().join() === namespaces.join();
    return isAlone && isKnown ? stateOf([parseThread(thread, namespaces, depth)], auxv, label) : undefined;
  });
  return states[0] && states[1] && [states[0], states[1]];
}

let known: readonly string[] | undefined;

/** The list is the same for every process (proc_ns_dir_readdir in fs/proc/namespaces.c). */
export function kernelNamespaces(): readonly string[] {
  known ??= readdirSync('/proc/self/ns').sort();
  return known;
}

/**
 * For root, only the facts that its standing depends on are read: root in another mount namespace is served all the same. A
 * zombie has only credentials left.
 */
export type Depth = 'root' | 'user' | 'zombie';

const rootNamespaces = ['user', 'pid', 'pid_for_children'];

function* readOnce(depth: Depth): ProcReading<CallerState> {
  const [names, ns] = yield [{ read: 'names', path: 'task' }, ...namesOfNamespaces(depth)];
  const tids = lines(required(names));
  if (tids.length > maxCallerThreads) {
    throw new CallerGoneError(
      `A caller with ${tids.length} threads is not served; the limit is ${maxCallerThreads}`,
    );
  }
  const namespaces = namespacesOf(depth, ns);
  const [auxv, label] = yield [
    { read: 'file', path: 'auxv' },
    { read: 'file', path: 'attr/current' },
  ];
  const threads: ThreadState[] = [];
  const perThread = questionsOf('', namespaces, depth).length;
  const answers = yield tids.flatMap((tid) => questionsOf(`task/${tid}/`, namespaces, depth));
  for (let at = 0; at < answers.length; at += perThread) {
    const its = answers.slice(at, at + perThread);
    if (!its.some(hasEnded)) threads.push(parseThread(its, namespaces, depth));
    yield breath;
  }
  if (threads.length === 0) throw new CallerGoneError('It has ended');
  return stateOf(threads, auxv, label);
}

function stateOf(
  threads: readonly ThreadState[],
  auxv: ProcAnswer | undefined,
  label: ProcAnswer | undefined,
): CallerState {
  return {
    threads,
    secureExec: parseAuxvSecure(Buffer.from(required(auxv), 'latin1')),
    label: parseLabel(label),
  };
}

/** A thread that exits loses its namespaces before its name. */
export function hasEnded(answer: ProcAnswer): boolean {
  return answer === os.errno.ENOENT || answer === os.errno.ESRCH;
}

/** All namespaces matter for a user only. */
function namesOfNamespaces(depth: Depth): readonly ProcQuestion[] {
  return depth === 'user' ? [{ read: 'names', path: 'ns' }] : [];
}

function namespacesOf(depth: Depth, names: ProcAnswer | undefined): readonly string[] {
  switch (depth) {
    case 'user':
      return lines(required(names));
    case 'root':
      return rootNamespaces;
    case 'zombie':
      return [];
  }
}

/** All questions about a thread. @param prefix its directory, with a slash at the end. */
function questionsOf(prefix: string, namespaces: readonly string[], depth: Depth): ProcQuestion[] {
  return [
    { read: 'file', path: `${prefix}status` },
    ...namespaces.map((name): ProcQuestion => ({ read: 'link', path: `${prefix}ns/${name}` })),
    ...(depth === 'user' ? [{ read: 'mount', path: `${prefix}root` } as const] : []),
  ];
}

function parseThread(
  answers: readonly ProcAnswer[],
  namespaces: readonly string[],
  depth: Depth,
): ThreadState {
  return {
    ...parseThreadStatus(required(answers[0])),
    namespaces: Object.fromEntries(namespaces.map((name, i) => [name, required(answers[i + 1])])),
    ...(depth === 'user' ? { root: parseRoot(required(answers.at(-1))) } : {}),
  };
}

/** Reads a thread synchronously. @param path its directory below /proc/PID/task. */
export function readThread(path: string, depth: Depth): ThreadState {
  return answerAtOnce(readOneThread(depth), path);
}

function* readOneThread(depth: Depth): ProcReading<ThreadState> {
  const [ns] = yield [{ read: 'names', path: 'ns' }];
  const namespaces = namespacesOf(depth, ns);
  return parseThread(yield questionsOf('', namespaces, depth), namespaces, depth);
}

/**
 * A path is not enough, because another mount may cover the same name. The path may contain a line `pos:`, so the last such line
 * counts.
 */
export function parseRoot(answer: string): string {
  const behindPath = answer.lastIndexOf('\npos:');
  const mount = /\nmnt_id:\s*(\d+)\n/.exec(answer.slice(behindPath))?.[1];
  return `${answer.slice(0, behindPath)} mnt_id ${mount}`;
}

/** @param path a /proc/PID. */
export function readLabel(path: string): string | undefined {
  return answerAtOnce(readOneLabel(), path);
}

function* readOneLabel(): ProcReading<string | undefined> {
  const [label] = yield [{ read: 'file', path: 'attr/current' }];
  return parseLabel(label);
}

/** EINVAL: no security module answers for this file. */
export function parseLabel(answer: ProcAnswer | undefined): string | undefined {
  if (answer === os.errno.EINVAL) return undefined;
  const label = required(answer).replace(/[\0\n]+$/, '');
  return label === '' ? undefined : label;
}
