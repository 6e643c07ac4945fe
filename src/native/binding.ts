/**
 * The native seam: the only file that loads the addon, and the only one that knows its signatures.
 *
 * Everything below is implemented in native/ (node-addon-api). Rules that hold for every call:
 * - a failing system call throws a {@link NativeError}: `code` is the errno name, `errno` its positive number,
 *   `syscall` the call; a wrong argument, a closed OwnedFd among them, throws a TypeError that names the parameter;
 * - a closed or released socket, and a Process whose pidfd is closed, answer EBADF to all but close() and watch(0);
 * - every file descriptor is CLOEXEC from birth and belongs to exactly one {@link OwnedFd}, SeqpacketSocket or Process.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a failing call throws. */
export interface NativeError extends Error {
  /** The errno name, for example `ECONNREFUSED`. */
  readonly code: string;
  /** The positive errno number. */
  readonly errno: number;
  /** The system call that failed. */
  readonly syscall: string;
}

/** One file descriptor with one owner. A forgotten one is closed by the garbage collector, as a last resort. */
export interface OwnedFd {
  /** The number, or -1 once closed or given away. */
  readonly number: number;
  /**
   * Closes it; a second call does nothing. One that {@link SeqpacketSocket.headTerminal} gave is closed on another thread, also by
   * the garbage collector.
   */
  close(): void;
}

/** SO_PEERCRED, fixed by the kernel at connect(2), see unix(7). */
export interface PeerCredentials {
  /** The pid in our pid namespace; 0 when the peer is outside of it. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** One packet taken from a socket's queue. */
export interface Packet {
  readonly data: Buffer;
  /** The descriptors that came along (SCM_RIGHTS). The receiver owns them. */
  readonly fds: OwnedFd[];
}

/**
 * What waits at the head of a socket's queue.
 * - `packet`: its true size in bytes, and the bytes unless it is larger than the limit that was given;
 * - `empty-packet`: a packet without a byte, which is not the end;
 * - `end`: the peer has closed or shut down its sending side, and nothing is left to read;
 * - `nothing`: neither (EAGAIN).
 * `foreign`: on an accepted socket, the packet was sent by a process with another uid or gid than the one that has connected
 * (SCM_CREDENTIALS against SO_PEERCRED, unix(7)).
 */
export type Peeked =
  | {
      readonly kind: 'packet';
      readonly size: number;
      readonly data: Buffer | undefined;
      readonly foreign?: true;
    }
  | { readonly kind: 'empty-packet'; readonly foreign?: true }
  | { readonly kind: 'end' }
  | { readonly kind: 'nothing' };

/** Bits of {@link SeqpacketSocket.watch}, the values of libuv's UV_READABLE, UV_WRITABLE and UV_DISCONNECT. */
export const Watch = { readable: 1, writable: 2, disconnect: 4 } as const;

/** A SEQPACKET Unix socket on the event loop. It owns its fd and at most one poll handle. */
export interface SeqpacketSocket {
  /** The fd's number, or -1 once closed or released. */
  readonly fd: number;
  /**
   * True once a look or a poll has found that the peer closed without having read all that we sent (ECONNRESET,
   * unix_release_sock in the kernel's af_unix.c): the last packet, at least, was seen by nobody.
   */
  readonly peerLeftUnread: boolean;
  /** The socket's inode number, as CRIU's USK_SERVICE compares it. */
  inode(): bigint;
  /**
   * Polls for `events` (bits of {@link Watch}; 0 stops) and calls `callback` with those that came, until told
   * otherwise. The poll is level-triggered. One callback at a time: a second watch() replaces the first. A poll that
   * fails calls back with 0 and the error, and has ended then. A peer that closed with packets of ours unread
   * (ECONNRESET) is no failure: it shows as disconnect, and what it sent is still readable.
   */
  watch(events: number, callback?: (events: number, error?: NativeError) => void): void;
  /** accept4(2) on a listening socket; undefined when nobody waits. One who waited and has left is accepted, and peeks as `end`. */
  accept(): SeqpacketSocket | undefined;
  /** Looks at the head of the queue without consuming it and without a control buffer, so that no fd is installed. */
  peek(limit: number): Peeked;
  /** True when the packet at the head carries fds: a peek without a control buffer then has MSG_CTRUNC. No fd is installed. */
  headCarriesFds(): boolean;
  /**
   * A copy of the one descriptor that the packet at the head carries, where it is the master of a pseudo terminal. The packet stays
   * where it is, so that its own copy is not the last one as long as this one is open. Undefined for more than one, and for any other.
   */
  headTerminal(): OwnedFd | undefined;
  /**
   * Throws the packet at the head away, whatever its size, without copying any of it. False where none waits, and where it carries fds:
   * that one stays, because closing them may block.
   */
  discard(): boolean;
  /**
   * Consumes one packet of at most `limit` bytes. Undefined when none waits (EAGAIN) or at the end of the connection.
   * A larger packet is consumed and throws EMSGSIZE; more than `maxFds` fds (default 16, at most the kernel's 253) are
   * closed and throw ETOOMANYREFS, as are fds that do not all fit into our descriptor table, with EMFILE.
   */
  receive(limit: number, maxFds?: number): Packet | undefined;
  /** Sends one packet with copies of `fds` (never SIGPIPE). False when the queue is full (EAGAIN): nothing was sent. */
  send(data: Uint8Array, fds?: readonly OwnedFd[]): boolean;
  peerCredentials(): PeerCredentials;
  /** SO_PEERGROUPS, ascending as the kernel gives them (Linux 4.13). */
  peerGroups(): number[];
  /**
   * SO_PEERPIDFD (Linux 6.5), else undefined: there is no fallback that is free of a race, the caller of this decides.
   * A peer that was reaped throws EINVAL; since Linux 6.16 there is a pidfd of the ended process.
   */
  peerPidfd(): OwnedFd | undefined;
  /** SO_PEERSEC; undefined without an LSM that labels sockets. */
  peerSecurityLabel(): string | undefined;
  /**
   * /proc/PID/uid_map of the process that connected, as it is now; undefined where it has gone or is in no pid namespace that we see
   * into. Reading it waits for nobody. Without SO_PEERPIDFD it may be that of whoever has the pid.
   */
  peerUidMap(): string | undefined;
  /** SO_PASSRIGHTS = 0 (Linux 6.16): packets with fds are refused by the kernel. False where the kernel does not know it. */
  refuseFds(): boolean;
  /** shutdown(2). An already disconnected peer (ENOTCONN) is no error. */
  shutdown(how: 'read' | 'write' | 'both'): void;
  /** fcntl(F_DUPFD_CLOEXEC): the same open file under another number. */
  copy(): OwnedFd;
  /** Ends polling, clears O_NONBLOCK on the open file itself (uv_poll_init set it) and gives the fd away: for a hand-over. */
  release(): OwnedFd;
  /** Ends polling and closes the fd; a second call does nothing. */
  close(): void;
}

/** How a process is started by {@link NativeBinding.spawn}. */
export interface SpawnOptions {
  /** The program, an absolute path. */
  readonly file: string;
  /** argv, argv[0] included. */
  readonly argv: readonly string[];
  /** The whole environment as KEY=value; nothing is inherited. */
  readonly env: readonly string[];
  /** What the child holds: each source is dup2()ed to `target`; every other fd is closed (close_range). Targets are distinct. */
  readonly fds: readonly { readonly source: OwnedFd; readonly target: number }[];
  /** Working directory, default `/`. */
  readonly cwd?: string;
  /** Default 022. */
  readonly umask?: number;
  /** A directory of cgroup v2 that it starts in, default this process's own. */
  readonly cgroup?: OwnedFd;
}

/** How a process ended. */
export type ExitStatus =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signalled'; readonly signal: number }
  /** Not our child (taken over from an earlier run of the service): it ended, that is all that is known. */
  | { readonly kind: 'unknown' };

/** A process held by its pidfd. */
export interface Process {
  readonly pid: number;
  readonly pidfd: OwnedFd;
  /** Calls back once when the process has ended; a child of ours is reaped then (waitid(P_PIDFD)). A second onExit() throws. */
  onExit(callback: (status: ExitStatus) => void): void;
  /** pidfd_send_signal(2). A process that has ended is no error: false. */
  signal(signal: number): boolean;
  /** Stops watching and closes the pidfd. Does not touch the process; a child that ended meanwhile is reaped. */
  close(): void;
}

/** One descriptor of sd_listen_fds_with_names(3). */
export interface ListenFd {
  readonly fd: OwnedFd;
  readonly name: string;
}

/**
 * What is to be read, by a path relative to a directory:
 * - `file`: its content, at most 256 KiB;
 * - `link`: what a symbolic link says;
 * - `names`: the entries of a directory, each followed by a newline;
 * - `mount`: what a link to a directory says, a newline, and the fdinfo of an O_PATH descriptor of it, which tells its mount
 *   (`mnt_id:`) without asking the file system behind it anything.
 */
export interface ProcQuestion {
  readonly read: 'file' | 'link' | 'names' | 'mount';
  readonly path: string;
}

/**
 * All threads of a process at one call, by the path of its directory: for each the lines State, Pid, TracerPid, Uid, Gid, CapPrm, CapBnd
 * and NoNewPrivs of its status, and `Children:`, a tab and their pids. A thread that ends meanwhile is left out, and so is what comes after 100,001.
 */
export interface TasksQuestion {
  readonly read: 'tasks';
  readonly path: string;
}

/** A process and its ancestors, each followed by a space, by the path of its directory in /proc: at most 100,000. */
export interface LineageQuestion {
  readonly read: 'lineage';
  readonly path: string;
}

/**
 * Which processes are looked for in /proc. Whose one is tells its effective uid; a thread that has ended counts for nothing, whatever
 * it held.
 */
export interface ProcessesQuestion {
  /**
   * Those of these users (at least one), of one audit session (proc(5), `sessionid`) or from one moment on (field 22 of `stat`) where
   * that is said. Absent: everybody's but root's.
   */
  readonly whose?: readonly { readonly uid: number; readonly session?: number; readonly since?: number }[];
  /** These, and no others. */
  readonly pids?: readonly number[];
  /** All but these. */
  readonly except?: readonly number[];
  /** With a thread that has this capability, its number, in its permitted or ambient set, in our user namespace; */
  readonly holding?: number;
  /** or one that is traced by this process. Where neither is said: all that have not ended. */
  readonly tracedBy?: number;
}

export interface ProcessesAnswer {
  /**
   * For each a line: pid, effective uid, start time (field 22 of `stat`), audit session and what was seen of it, separated by spaces,
   * then a tab and its cgroup in the unified hierarchy. What is not known is `-`. Seen was:
   * - `found`, and of the first such thread: its tid, the letter of its state, its tracer, four uids, four gids, and in hexadecimal its
   *   inheritable, permitted, effective and ambient set;
   * - `unsettled`: it ended, or threads of it ended or were born, while it was looked at, and none of those that were seen is one;
   * - an errno: it cannot be read, and has not ended.
   */
  readonly found: string;
  /** No process and no thread was born meanwhile on this machine: what was not found is not there. */
  readonly quiet: boolean;
  /** There are more than are told of. */
  readonly cut: boolean;
}

/** The answer, or a positive errno. */
export type ProcAnswer = string | number;

/** What the addon exports. */
export interface NativeBinding {
  // Sockets
  /** Wraps a SEQPACKET socket; consumes `fd`. @param accepted for one that was accepted, in an earlier start of this service. */
  adopt(fd: OwnedFd, accepted?: boolean): SeqpacketSocket;
  /** socket, bind, chmod to `mode`, listen. The path must not exist and must fit sun_path (ENAMETOOLONG). */
  listen(path: string, mode: number, backlog: number): SeqpacketSocket;
  /** connect(2) that never waits: a listener whose backlog is full is EAGAIN. */
  connect(path: string): SeqpacketSocket;
  /** Ours on the event loop, theirs blocking and for an engine. */
  socketpair(): { readonly ours: SeqpacketSocket; readonly theirs: OwnedFd };
  /** What an fd is, by sd_is_socket(3): undefined when it is no socket at all. */
  describeSocket(
    fd: OwnedFd,
  ): { readonly family: number; readonly type: number; readonly listening: boolean } | undefined;
  /** Whether the peer has yet to read something that was sent through this end, by whoever has it open (SIOCOUTQ, unix(7)). */
  unreadByPeer(fd: OwnedFd): boolean;

  // Processes and their descriptors
  /** clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD), signals 1-64 to default, empty mask, setsid, umask, fds, execve. A failing step throws with its errno and `syscall`. */
  spawn(options: SpawnOptions): Process;
  /** Watches a process by a pidfd that is given away; `pid` is for information. */
  adoptProcess(pidfd: OwnedFd, pid: number): Process;
  /** Whether the process of a pidfd has yet to end, or to be reaped (pidfd_send_signal(2) with signal 0). */
  isAlive(pidfd: OwnedFd): boolean;
  /** SIGKILL for the process of a pidfd, whoever holds it besides, and reaps it. False for one that has ended and was reaped. */
  kill(pidfd: OwnedFd): boolean;
  pidfdOpen(pid: number): OwnedFd;
  /** pidfd_getfd(2): a copy of the target's descriptor `number`. */
  pidfdGetfd(pidfd: OwnedFd, number: number): OwnedFd;
  /**
   * Closes on another thread: for a socket whose queue holds descriptors of its peer's, whose last close may block. Those of one
   * `lane`, the peer's uid, share a thread, and wait for each other.
   */
  closeElsewhere(fd: OwnedFd, lane: number): void;
  /** How many of those have yet to return. */
  pendingCloses(): number;
  /** Answers questions about a directory of /proc, as {@link readElsewhere} does, where nothing can block. */
  readAtOnce(directory: OwnedFd, questions: readonly ProcQuestion[]): ProcAnswer[];
  /**
   * Answers questions about a directory of /proc on a thread of its own, which is lost for as long as one of them blocks: the
   * promise waits with it, and nothing else does.
   * @returns for each question its answer, byte by byte as Latin-1, or the positive errno.
   */
  readElsewhere(
    directory: OwnedFd,
    questions: readonly (ProcQuestion | TasksQuestion | LineageQuestion)[],
  ): Promise<ProcAnswer[]>;
  /**
   * What processes hold, and what a caller is told who opens it: read as root and asked as that caller, who holds no capability then,
   * on a thread of its own, which is lost for as long as a file system does not answer: the promise waits with it, and nothing else
   * does. The thread takes the caller's file system ids; the service's memory is not dumpable from the first one on.
   *
   * Of each thread that has descriptors and a working directory of its own, and of each process the program and the mappings of
   * files. Equal things are told of once. @throws EFBIG beyond 16 MiB.
   * @returns as Latin-1, with a NUL behind each field: the id of the mount at /proc, then twelve fields a thing: those of Holding in
   * src/policy/holdings.ts in their order, empty where undefined.
   */
  readHeld(
    processes: readonly number[],
    caller: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] },
  ): Promise<string>;
  /**
   * Looks through a /proc once, on a thread of its own: from a random place on, and at each process as soon as it is listed. What is
   * read waits for nobody. At most 4,096 are told of.
   */
  lookForProcesses(proc: OwnedFd, question: ProcessesQuestion): Promise<ProcessesAnswer>;
  /** The parent's pid; 0 for pid 1 and for what was forked outside of our pid namespace; undefined for a process that has gone. */
  parentOf(pid: number): number | undefined;
  /** fcntl(F_DUPFD_CLOEXEC). */
  duplicate(fd: OwnedFd): OwnedFd;
  /** open(2) with O_CLOEXEC and O_NOCTTY; flags as in node:fs constants. A new file is its owner's alone (0600) unless `mode` says more. */
  open(path: string, flags: number, mode?: number): OwnedFd;
  /**
   * Of each path one line: which file it leads to (stat(2): device, inode, mode, size, both times in nanoseconds), or the errno of
   * one that leads nowhere. It changes whenever the file is replaced or written to.
   */
  fileIdentities(paths: readonly string[]): string;
  /**
   * Whether a regular file is open by another open(2) than `fd`: for writing, or at all (fcntl(F_SETLEASE), which only its owner and
   * root may ask). False where the file system knows no leases.
   */
  openElsewhere(fd: OwnedFd, by: 'writer' | 'anybody'): boolean;
  /** The owner and the permissions of what is open, as the kernel remembers them: nothing is asked, and nobody is waited for. */
  ownership(fd: OwnedFd): { readonly uid: number; readonly mode: number };
  /** memfd_create(2) of `size` bytes, sealed against growing and shrinking: writes past the end fail instead of using memory. */
  memfd(name: string, size: number): OwnedFd;

  // libsystemd
  /** sd_listen_fds_with_names(3), environment removed. Called once, before anything is spawned. */
  listenFds(): ListenFd[];
  /**
   * sd_pid_notify_with_fds(3), if that needs not wait. False where nothing was sent: the queue of NOTIFY_SOCKET is full, or what was
   * given to {@link notifyElsewhere} has yet to be sent.
   */
  notifyNow(state: string, fds?: readonly OwnedFd[]): boolean;
  /**
   * sd_pid_notify_with_fds(3) on a thread, in the order of these calls, however long the queue is full. Copies of the descriptors.
   * @returns false without NOTIFY_SOCKET; rejects on failure.
   */
  notifyElsewhere(state: string, fds?: readonly OwnedFd[]): Promise<boolean>;
  /**
   * StartTransientUnit of systemd (org.freedesktop.systemd1(5)): a scope for `pid`, collected when it is empty. Works on
   * another thread, in the order of those of one `lane`, the uid of who asks; and resolves with the scope's cgroup, as /proc/PID/cgroup names it, once the process is there. Where it
   * ends before (ESRCH), or systemd takes too long (ETIMEDOUT), no scope stays.
   */
  startScope(options: {
    readonly name: string;
    readonly slice: string;
    readonly description: string;
    readonly pid: number;
    readonly lane: number;
  }): Promise<string>;
  /**
   * StopUnit for a scope that was started and that nobody is in, on another thread.
   * @param directory its cgroup's.
   * @returns false where it has somebody in it, or is not started yet, or is gone.
   */
  stopEmptyScope(name: string, directory: string): Promise<boolean>;
  /**
   * sd_journal_sendv(3) on a thread of its own, which a journal that does not read may hold up: each field is `NAME=value`,
   * binary safe. False when too many records wait already: this one is lost.
   */
  journalSend(fields: readonly Uint8Array[]): boolean;
  /** How many records have yet to be sent. */
  journalPending(): number;
}

/** build/: beside the bundle in an installed package, native/build/Release in a checkout. */
function addonPath(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  return here.endsWith(join('src', 'native'))
    ? join(here, '..', '..', 'native', 'build', 'Release', 'criu_service.node')
    : join(here, 'criu_service.node');
}

export const native = createRequire(import.meta.url)(addonPath()) as NativeBinding;
