/**
 * Who asks: what the kernel fixed at connect(2), and what the process is by the time its packet is here.
 *
 * Only the socket's credentials are fixed at connect; the process behind them may have executed `su` or a program
 * with file capabilities since. So everything else is read when the packet has arrived, through a directory fd of
 * /proc/PID that is bound to the peer's pidfd, in every thread, and twice.
 */
import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { native, type OwnedFd, type Process, type SeqpacketSocket } from '../socket/binding.ts';
import { parseAuxvSecure, parseThreadStatus, type ThreadStatus } from './proc-status.ts';
import { type Reading, readAtOnce, readInTurns } from './turns.ts';

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

/** The identity with the handle that keeps its pid from meaning somebody else. */
export interface Caller {
  readonly identity: CallerIdentity;
  /** The peer's pidfd. */
  readonly pidfd: OwnedFd;
  /** False where the kernel has no SO_PEERPIDFD (Linux < 6.5), so that the pid could have been reused before we opened it. */
  readonly bound: boolean;
}

export interface ThreadState extends ThreadStatus {
  /** For example `pid` -> `pid:[4026531836]`: all that the kernel has, or of root those that count. */
  readonly namespaces: Readonly<Record<string, string>>;
  /** The root directory as this service sees it, with the id of its mount: `/ mnt_id 28`; not read of root. */
  readonly root?: string;
}

/** What a process is right now, as /proc tells it. */
export interface CallerState {
  /** One entry for each thread, the leader first: credentials, namespaces and root directories are per thread. */
  readonly threads: readonly ThreadState[];
  /** AT_SECURE of the auxiliary vector: the program was started across a privilege boundary (getauxval(3)). */
  readonly secureExec: boolean;
  /** The LSM label now; undefined without one. */
  readonly label: string | undefined;
}

/** The caller is gone, or what it is cannot be read. */
export class CallerGoneError extends Error {
  override readonly name = 'CallerGoneError';
}

/** A caller with more threads than this is not looked through: each of its requests would cost seconds. */
export const maxCallerThreads = 1024;

/**
 * Takes the identity that the kernel fixed on a connection.
 * @throws NativeError when the peer is not in our pid namespace's sight (pid 0) or has gone.
 */
export function identifyCaller(socket: SeqpacketSocket): Caller {
  const { pid, uid, gid } = socket.peerCredentials();
  const identity = { pid, uid, gid, groups: socket.peerGroups(), label: socket.peerSecurityLabel() };
  if (pid === 0) {
    throw new CallerGoneError('The caller is in a pid namespace that this service cannot see into');
  }
  const pidfd = socket.peerPidfd();
  return pidfd ? { identity, pidfd, bound: true } : { identity, pidfd: native.pidfdOpen(pid), bound: false };
}

/**
 * Reads what the caller is now, twice, and returns it only if both readings agree. Of root that is done at once; anybody else
 * may have as many threads as they like, so that it is done in turns.
 * @throws CallerGoneError when it has gone, changes while it is read, or has more than {@link maxCallerThreads} threads.
 */
export function readCallerState(caller: Caller): CallerState | Promise<CallerState> {
  return caller.identity.uid === 0
    ? readAtOnce(readTwice(caller, 'root'))
    : readInTurns(readTwice(caller, 'user'));
}

function* readTwice(caller: Caller, depth: Depth): Reading<CallerState> {
  const directory = openProcDirectory(caller);
  try {
    const path = `/proc/self/fd/${directory.number}`;
    const first = yield* readOnce(path, depth);
    const second = yield* readOnce(path, depth);
    if (JSON.stringify(first, withBigint) !== JSON.stringify(second, withBigint)) {
      throw new CallerGoneError(
        `Process ${caller.identity.pid} changed its credentials while they were read`,
      );
    }
    return second;
  } catch (error) {
    if (error instanceof CallerGoneError) throw error;
    throw new CallerGoneError(`Process ${caller.identity.pid} cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    directory.close();
  }
}

/** What this service is itself: the measure for "fully privileged". */
export function readOwnState(): CallerState {
  return readAtOnce(readOnce('/proc/self', 'user'));
}

/**
 * A directory fd of /proc/PID stays with that process; the pidfd, alive after the open, says that it is the right one.
 * @throws CallerGoneError
 */
export function openProcDirectory(caller: Caller): OwnedFd {
  const { pid } = caller.identity;
  let directory: OwnedFd;
  try {
    directory = native.open(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw new CallerGoneError(`Process ${pid} has gone`, { cause: error });
  }
  if (!isAlive(caller.pidfd, pid)) {
    directory.close();
    throw new CallerGoneError(`Process ${pid} has gone`);
  }
  return directory;
}

function isAlive(pidfd: OwnedFd, pid: number): boolean {
  const watched: Process = native.adoptProcess(native.duplicate(pidfd), pid);
  try {
    return watched.signal(0);
  } finally {
    watched.close();
  }
}

/**
 * Of root only what its standing depends on is read: a caller in another mount namespace is served all the same. A zombie has
 * nothing left but credentials.
 */
type Depth = 'root' | 'user' | 'zombie';

const rootNamespaces = ['user', 'pid', 'pid_for_children'];

function* readOnce(path: string, depth: Depth): Reading<CallerState> {
  const tids = readdirSync(`${path}/task`);
  if (tids.length > maxCallerThreads) {
    throw new CallerGoneError(
      `A caller with ${tids.length} threads is not served; the limit is ${maxCallerThreads}`,
    );
  }
  const threads: ThreadState[] = [];
  for (const tid of tids) {
    threads.push(readThread(`${path}/task/${tid}`, depth));
    yield;
  }
  return {
    threads,
    secureExec: parseAuxvSecure(readFileSync(`${path}/auxv`)),
    label: readLabel(path),
  };
}

/** Everything of one thread. @param path its directory below /proc/PID/task. */
export function readThread(path: string, depth: Depth = 'user'): ThreadState {
  const namespaces = depth === 'user' ? readdirSync(`${path}/ns`) : depth === 'root' ? rootNamespaces : [];
  return {
    ...parseThreadStatus(readFileSync(`${path}/status`, 'latin1')),
    namespaces: Object.fromEntries(namespaces.map((name) => [name, readlinkSync(`${path}/ns/${name}`)])),
    ...(depth === 'user' ? { root: readRoot(path) } : {}),
  };
}

/**
 * O_PATH follows the link without asking the file system behind it anything: a caller whose root is a FUSE mount that never
 * answers cannot hold this up. The path alone would not do, because another mount may lie over the same name.
 */
function readRoot(path: string): string {
  const root = native.open(`${path}/root`, constants.O_DIRECTORY | 0o10000000 /* O_PATH */);
  try {
    const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${root.number}`, 'latin1'))?.[1];
    return `${readlinkSync(`${path}/root`)} mnt_id ${mount}`;
  } finally {
    root.close();
  }
}

/** Whether a security module answers for attr/current is the kernel's affair, the same for every process. */
let labels: boolean | undefined;

/** @param path a /proc/PID. */
export function readLabel(path: string): string | undefined {
  if (labels === false) return undefined;
  try {
    const label = readFileSync(`${path}/attr/current`, 'latin1').replace(/[\0\n]+$/, '');
    labels = true;
    return label === '' ? undefined : label;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    // No security module answers for this file.
    labels = false;
    return undefined;
  }
}

function withBigint(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString(16) : value;
}
