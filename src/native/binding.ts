/**
 * The native seam: the only file that loads the addon and knows its signatures.
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

/** The error of a failing call. */
export interface NativeError extends Error {
  /** The errno name, for example `ECONNREFUSED`. */
  readonly code: string;
  /** The positive errno number. */
  readonly errno: number;
  /** The system call that failed. */
  readonly syscall: string;
}

/** One file descriptor with one owner. The garbage collector closes a forgotten descriptor, as a last resort. */
export interface OwnedFd {
  /** The number, or -1 after close or hand-over. */
  readonly number: number;
  /**
   * Closes the descriptor; a second call does nothing. A descriptor from {@link SeqpacketSocket.headTerminal} is closed on
   * another thread, also by the garbage collector.
   */
  close(): void;
}

/** SO_PEERCRED, fixed by the kernel at connect(2), see unix(7). */
export interface PeerCredentials {
  /** The pid in our pid namespace; 0 if the peer is outside of it. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** One packet taken from a socket's queue. */
export interface Packet {
  readonly data: Buffer;
  /** The packet's descriptors (SCM_RIGHTS). The receiver owns them. */
  readonly fds: OwnedFd[];
}

/**
 * The head of a socket's queue.
 * - `packet`: its true size in bytes, and its bytes unless they exceed the given limit;
 * - `empty-packet`: a packet of zero bytes, which is not the end;
 * - `end`: the peer has closed or shut down its sending side, and all packets are read;
 * - `nothing`: neither (EAGAIN).
 *
 * `foreign`: on an accepted socket, the packet's sender had another uid or gid than the process that connected (SCM_CREDENTIALS
 * against SO_PEERCRED, unix(7)). `passedOn`: the sender was another process than the one that connected.
 */
export type Peeked =
  | {
      readonly kind: 'packet';
      readonly size: number;
      readonly data: Buffer | undefined;
      readonly foreign?: true;
      readonly passedOn?: true;
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
   * True after a look or a poll has found that the peer closed without reading all that we sent (ECONNRESET, unix_release_sock in
   * the kernel's af_unix.c). Then at least our last packet is unread.
   */
  readonly peerLeftUnread: boolean;
  /** The socket's inode number, as CRIU's USK_SERVICE compares it. */
  inode(): bigint;
  /**
   * Polls for `events` (bits of {@link Watch}; 0 stops) and calls `callback` with those that occur, until the watch is changed.
   * The poll is level-triggered. A socket has one callback: a second watch() replaces the first. If the poll fails, the callback
   * gets 0 and the error, and polling has ended. A peer that closed with unread packets of ours (ECONNRESET) is not a failure: it
   * shows as disconnect, and its own packets are still readable.
   */
  watch(events: number, callback?: (events: number, error?: NativeError) => void): void;
  /**
   * accept4(2) on a listening socket; undefined if no connection waits. A peer that has left meanwhile is accepted, and peeks as
   * `end`.
   */
  accept(): SeqpacketSocket | undefined;
  /** Looks at the head of the queue without consuming it, and without a control buffer, so that no fd is installed. */
  peek(limit: number): Peeked;
  /** True if the packet at the head carries fds: a peek without a control buffer then has MSG_CTRUNC. No fd is installed. */
  headCarriesFds(): boolean;
  /**
   * A copy of the descriptor in the packet at the head, if it is the packet's only descriptor and the master of a pseudo
   * terminal; otherwise undefined. The packet stays queued. While this copy is open, closing the packet's own copy is not the
   * last close.
   */
  headTerminal(): OwnedFd | undefined;
  /**
   * Discards the packet at the head, of any size, without copying it. False if no packet waits, and if the packet carries fds: it
   * stays queued, because closing them may block.
   */
  discard(): boolean;
  /**
   * Consumes one packet of at most `limit` bytes. Undefined if no packet waits (EAGAIN) or at the end of the connection. A larger
   * packet is consumed and throws EMSGSIZE. More than `maxFds` fds (default 16, at most the kernel's 253) are closed and throw
   * ETOOMANYREFS; fds that do not all fit into our descriptor table are closed and throw EMFILE.
   */
  receive(limit: number, maxFds?: number): Packet | undefined;
  /** Sends one packet with copies of `fds` (never SIGPIPE). False if the queue is full (EAGAIN): nothing was sent. */
  send(data: Uint8Array, fds?: readonly OwnedFd[]): boolean;
  peerCredentials(): PeerCredentials;
  /** SO_PEERGROUPS, ascending as the kernel gives them (Linux 4.13). */
  peerGroups(): number[];
  /**
   * SO_PEERPIDFD. Undefined before Linux 6.5: every fallback has a race, so the caller of this decides. For a reaped peer it
   * throws EINVAL; since Linux 6.16 it gives a pidfd of the ended process.
   */
  peerPidfd(): OwnedFd | undefined;
  /** SO_PEERSEC; undefined without an LSM that labels sockets. */
  peerSecurityLabel(): string | undefined;
  /**
   * The current /proc/PID/uid_map of the process that connected. Undefined if the process has gone, or is in a pid namespace that
   * we cannot see into. Reading it never blocks. Without SO_PEERPIDFD the pid may have been reused.
   */
  peerUidMap(): string | undefined;
  /** SO_PASSRIGHTS = 0 (Linux 6.16): the kernel refuses packets with fds. False if the kernel does not know the option. */
  refuseFds(): boolean;
  /** shutdown(2). A disconnected peer (ENOTCONN) is not an error. */
  shutdown(how: 'read' | 'write' | 'both'): void;
  /** fcntl(F_DUPFD_CLOEXEC): the same open file under another number. */
  copy(): OwnedFd;
  /** Ends polling, clears O_NONBLOCK on the open file itself (uv_poll_init set it) and gives the fd away, for a hand-over. */
  release(): OwnedFd;
  /** Ends polling and closes the fd; a second call does nothing. */
  close(): void;
}

/** The master of a pseudo terminal, pty(7), on the event loop. It owns its fd and at most one poll handle. */
export interface TerminalMaster {
  /** As {@link SeqpacketSocket.watch}, for readable and writable. An end of the terminal shows as readable. */
  watch(events: number, callback?: (events: number) => void): void;
  /** The next bytes of output, at most 64 KiB. Undefined if there are none yet; null if no process has the terminal open. */
  read(): Buffer | undefined | null;
  /** The number of bytes of input that the terminal has taken, 0 if it takes none now. */
  write(bytes: Uint8Array): number;
  /** TIOCSWINSZ: the foreground process group gets SIGWINCH if the size has changed. */
  resize(rows: number, columns: number): void;
  /** fcntl(F_DUPFD_CLOEXEC): the same open file under another number. */
  copy(): OwnedFd;
  /** TIOCGPTPEER, ioctl_tty(2): the other end, for a program. It becomes no controlling terminal by that. */
  openPeer(): OwnedFd;
  /** Ends polling and closes the fd; a second call does nothing. */
  close(): void;
}

/** Parameters of a process for {@link NativeBinding.spawn}. */
export interface SpawnOptions {
  /** The program, an absolute path. */
  readonly file: string;
  /** argv, argv[0] included. */
  readonly argv: readonly string[];
  /** The whole environment as KEY=value; nothing is inherited. */
  readonly env: readonly string[];
  /**
   * The child's descriptors: each source is dup2()ed to `target`; every other fd is closed (close_range). Targets are distinct.
   */
  readonly fds: readonly { readonly source: OwnedFd; readonly target: number }[];
  /** Working directory, default `/`. */
  readonly cwd?: string;
  /** Default 022. */
  readonly umask?: number;
  /** The directory of the cgroup (v2) in which the child starts; default this process's own. */
  readonly cgroup?: OwnedFd;
}

/** The end of a process. */
export type ExitStatus =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'signalled'; readonly signal: number }
  /** Not our child (adopted from an earlier run of the service): only its end is known. */
  | { readonly kind: 'unknown' };

/** A process held by its pidfd. */
export interface Process {
  readonly pid: number;
  readonly pidfd: OwnedFd;
  /** Calls back once, after the process has ended; a child of ours is reaped then (waitid(P_PIDFD)). A second onExit() throws. */
  onExit(callback: (status: ExitStatus) => void): void;
  /**
   * Puts off the callback of {@link onExit}, and the reaping: until {@link releasePid} the pid of a child of ours names the child, or
   * its zombie. False without a watch, or after the callback.
   */
  keepPid(): boolean;
  releasePid(): void;
  /** pidfd_send_signal(2). False if the process has ended. */
  signal(signal: number): boolean;
  /** Stops watching and closes the pidfd. Does not touch the process, but reaps a child that has ended meanwhile. */
  close(): void;
}

/** One descriptor of sd_listen_fds_with_names(3). */
export interface ListenFd {
  readonly fd: OwnedFd;
  readonly name: string;
}

/**
 * A question about a path relative to a directory:
 * - `file`: its content, at most 256 KiB;
 * - `link`: the target of a symbolic link;
 * - `names`: the entries of a directory, each followed by a newline;
 * - `mount`: the target of a link to a directory, a newline, and the fdinfo of an O_PATH descriptor of it, which tells its mount
 *   (`mnt_id:`) without a question to the file system behind it.
 */
export interface ProcQuestion {
  readonly read: 'file' | 'link' | 'names' | 'mount';
  readonly path: string;
}

/**
 * All threads of a process in one call, by the path of its directory. Each thread has the lines State, Pid, TracerPid, Uid, Gid,
 * Groups, CapPrm, CapBnd, NoNewPrivs and Seccomp of its status, then `Children:`, a tab and their pids. In place of its groups, `=`
 * means those of the last list before, and `+` that the lists of the process are too long. A thread that exits meanwhile is left out,
 * and so are threads after the first 100,001.
 */
export interface TasksQuestion {
  readonly read: 'tasks';
  readonly path: string;
}

/** A process and its ancestors, each followed by a space, by the path of the process's directory in /proc: at most 100,000. */
export interface LineageQuestion {
  readonly read: 'lineage';
  readonly path: string;
}

/** Selects the processes of a search in /proc. A process belongs to its effective uid. A thread that has exited never matches. */
export interface ProcessesQuestion {
  /**
   * Processes of these users (at least one), optionally of one audit session (proc(5), `sessionid`) or started at or after one
   * moment (field 22 of `stat`). Absent: of all users except root.
   */
  readonly whose?: readonly { readonly uid: number; readonly session?: number; readonly since?: number }[];
  /** Only these processes. */
  readonly pids?: readonly number[];
  /** All processes except these. */
  readonly except?: readonly number[];
  /** Matches a thread that has this capability (a number) in its permitted or ambient set, in our user namespace; */
  readonly holding?: number;
  /** or a thread that is traced by this process. If both are absent, all living processes match. */
  readonly tracedBy?: number;
}

export interface ProcessesAnswer {
  /**
   * A line for each process: pid, effective uid, start time (field 22 of `stat`), audit session and finding, separated by spaces,
   * then a tab and its cgroup in the unified hierarchy. An unknown value is `-`. The finding is:
   * - `found`, with facts of the first matching thread: its tid, the letter of its state, its tracer, four uids, four gids, and in
   *   hexadecimal its inheritable, permitted, effective and ambient set;
   * - `unsettled`: the process ended, or threads of it ended or were born, during the inspection, and no inspected thread matched;
   * - an errno: the process cannot be read, and has not ended.
   */
  readonly found: string;
  /** No process and no thread was born on this machine during the search, so a process that was not found does not exist. */
  readonly quiet: boolean;
  /** More processes match than were reported. */
  readonly cut: boolean;
}

/** The answer, or a positive errno. */
export type ProcAnswer = string | number;

/** What the addon exports. */
export interface NativeBinding {
  // Sockets
  /**
   * Wraps a SEQPACKET socket; consumes `fd`.
   * @param accepted for a socket that an earlier start of this service accepted.
   */
  adopt(fd: OwnedFd, accepted?: boolean): SeqpacketSocket;
  /** socket, bind, chmod to `mode`, listen. The path must not exist and must fit sun_path (ENAMETOOLONG). */
  listen(path: string, mode: number, backlog: number): SeqpacketSocket;
  /** connect(2) that never waits: a full backlog is EAGAIN. */
  connect(path: string): SeqpacketSocket;
  /** A socket pair: `ours` for the event loop, `theirs` blocking, for an engine. */
  socketpair(): { readonly ours: SeqpacketSocket; readonly theirs: OwnedFd };
  /** Describes a socket, by sd_is_socket(3). Undefined if the fd is not a socket. */
  describeSocket(
    fd: OwnedFd,
  ): { readonly family: number; readonly type: number; readonly listening: boolean } | undefined;
  /**
   * The packet at the head of a socket's queue, which stays there; the options of the socket stay as they are. Undefined if there is
   * none, if it is empty or longer than `most` bytes, or if the socket fails.
   */
  headOf(fd: OwnedFd, most: number): Buffer | undefined;
  /** Tells whether the peer has yet to read something that any holder of this end has sent (SIOCOUTQ, unix(7)). */
  unreadByPeer(fd: OwnedFd): boolean;
  /**
   * A copy of the other end of a connection, from the main thread's descriptors of the process that connected, looked for on a
   * thread of its own. It is closed on another thread, also by the garbage collector. Undefined if the process does not have it
   * among its first 65,536.
   * If the process is inside execve(2), the promise may wait for as long as its owner likes.
   */
  peersEnd(connection: OwnedFd, pidfd: OwnedFd, process: OwnedFd): Promise<OwnedFd | undefined>;

  // Processes and their descriptors
  /**
   * _exit(2), see leave.ts. The status flags of standard input, output and error become again as they were when the addon was
   * loaded (Node makes pipes non-blocking, and its own exit puts that back, too).
   */
  exit(status: number): never;
  /**
   * clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD), signals 1-64 to default, empty mask, setsid, umask, fds, execve. A failing step
   * throws with its errno and `syscall`.
   */
  spawn(options: SpawnOptions): Process;
  /** Watches a process by its pidfd, which is consumed; `pid` is for information. */
  adoptProcess(pidfd: OwnedFd, pid: number): Process;
  /** Tells whether the process of a pidfd has yet to end, or to be reaped (pidfd_send_signal(2) with signal 0). */
  isAlive(pidfd: OwnedFd): boolean;
  /** SIGKILL for the process of a pidfd. The holder of its Process reaps it. False for a process that has ended and was reaped. */
  kill(pidfd: OwnedFd): boolean;
  pidfdOpen(pid: number): OwnedFd;
  /** pidfd_getfd(2): a copy of the target's descriptor `number`. */
  pidfdGetfd(pidfd: OwnedFd, number: number): OwnedFd;
  /** The file to which a Unix socket is bound, as a place (O_PATH), by SIOCUNIXFILE of unix(7). Needs CAP_NET_ADMIN. */
  socketFile(socket: OwnedFd): OwnedFd;
  /**
   * Closes on another thread, for a socket whose queue holds descriptors of its peer's, because their last close may block.
   * Descriptors of one `lane`, the peer's uid, share a thread and wait for each other.
   */
  closeElsewhere(fd: OwnedFd, lane: number): void;
  /** Answers questions about a directory of /proc, as {@link readElsewhere} does, for files that cannot block. */
  readAtOnce(directory: OwnedFd, questions: readonly ProcQuestion[]): ProcAnswer[];
  /**
   * Answers questions about a directory of /proc on a thread of its own. If a file blocks, only that thread and the promise wait.
   * @returns for each question its answer, byte by byte as Latin-1, or the positive errno.
   */
  readElsewhere(
    directory: OwnedFd,
    questions: readonly (ProcQuestion | TasksQuestion | LineageQuestion)[],
  ): Promise<ProcAnswer[]>;
  /**
   * The things that processes hold, and whether a caller could open them: read as root, then asked as that caller without
   * capabilities, on a thread of its own. If a file system does not answer, only that thread and the promise wait. The thread
   * takes the caller's file system ids; from the first such thread on, the service's memory is not dumpable.
   *
   * The result covers each thread that has its own descriptors and working directory, and the program and file mappings of each
   * process. Equal things are reported once.
   * @throws EFBIG beyond 16 MiB.
   * @returns as Latin-1, with a NUL behind each field: the id of the mount at /proc, then twelve fields a thing: those of Holding
   * in src/policy/holdings.ts in their order, empty for undefined.
   */
  readHeld(
    processes: readonly number[],
    caller: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] },
  ): Promise<string>;
  /**
   * Searches a /proc once, on a thread of its own, from a random place on. Each process is inspected as soon as it is listed.
   * Only files that never block are read. At most 4,096 processes are reported.
   */
  lookForProcesses(proc: OwnedFd, question: ProcessesQuestion): Promise<ProcessesAnswer>;
  /**
   * The parent's pid; 0 for pid 1 and for a process that was forked outside of our pid namespace; undefined for a process that
   * has gone.
   */
  parentOf(pid: number): number | undefined;
  /** fcntl(F_DUPFD_CLOEXEC). */
  duplicate(fd: OwnedFd): OwnedFd;
  /**
   * open(2) with O_CLOEXEC and O_NOCTTY; flags as in node:fs constants. A new file has mode 0600 unless `mode` says otherwise.
   */
  open(path: string, flags: number, mode?: number): OwnedFd;
  /**
   * One line for each path: the identity of its file (stat(2): device, inode, mode, size, both times in nanoseconds), or the
   * errno if there is no file. The line changes if the file is replaced or written to.
   */
  fileIdentities(paths: readonly string[]): string;
  /**
   * Tells whether another open(2) than `fd`'s has a regular file open: for writing, or at all (fcntl(F_SETLEASE), which is
   * reserved to the file's owner and root). False if the file system has no leases.
   */
  openElsewhere(fd: OwnedFd, by: 'writer' | 'anybody'): boolean;
  /** The owner and permissions of an open file, as the kernel has them cached, so the call never waits for a file system. */
  ownership(fd: OwnedFd): { readonly uid: number; readonly mode: number };
  /**
   * Exchanges two files or directories of a file system in one step, renameat2(2) with RENAME_EXCHANGE.
   * @throws NativeError; EINVAL if the file system cannot do that.
   */
  exchange(one: string, other: string): void;
  /**
   * flock(2) with LOCK_EX, without waiting. The kernel lets the lock go when the last copy of `fd` is closed, also if its process is
   * killed.
   * @returns false if another open(2) of the file has the lock.
   */
  lock(fd: OwnedFd): boolean;
  /** memfd_create(2) of `size` bytes, sealed against growing and shrinking: writes past the end fail instead of using memory. */
  memfd(name: string, size: number): OwnedFd;

  // Terminals
  /** Takes over the master of a pseudo terminal, and unlocks its other end; consumes `fd`. ENOTTY for any other file. */
  adoptTerminal(fd: OwnedFd): TerminalMaster;
  /** cfmakeraw(3) for the terminal of a descriptor of this process. @returns its modes before, for {@link putModes}. */
  makeRaw(fd: number): Uint8Array;
  putModes(fd: number, modes: Uint8Array): void;
  /**
   * The end of a process that is no child of ours, by its pidfd (PIDFD_INFO_EXIT of Linux 6.15). Undefined before its parent has
   * reaped it; null from a kernel that cannot tell.
   */
  endOf(pidfd: OwnedFd): ExitStatus | undefined | null;
  /**
   * Every Unix socket of our network namespace (sock_diag(7)). A line for each: inode, type (SOCK_STREAM, ...), state (1 connected,
   * 7 not, 10 listening), the inode of its peer or 0, the inode of its file or 0, and its name or nothing, separated by spaces.
   * Inodes of files are cut to 32 bits.
   */
  unixSockets(): string;
  /** The kernel's name for the protocol of a socket, by a path in /proc/PID/fd: `TCP`, `UNIX-STREAM`. Undefined if it cannot be read. */
  protocolOf(path: string): string | undefined;
  /**
   * False if no process has the other end of this pipe.
   * @param path a path in /proc/PID/fd.
   * @param writes true for the end that is written.
   */
  pipeIsWhole(path: string, writes: boolean): boolean;

  // libsystemd
  /** sd_listen_fds_with_names(3), which removes the environment variables. Call it once, before anything is spawned. */
  listenFds(): ListenFd[];
  /**
   * sd_pid_notify_with_fds(3), if it need not wait. False if nothing was sent: the queue of NOTIFY_SOCKET is full, or an earlier
   * {@link notifyElsewhere} is still waiting.
   */
  notifyNow(state: string, fds?: readonly OwnedFd[]): boolean;
  /**
   * sd_pid_notify_with_fds(3) on a thread, in the order of these calls, for as long as the queue is full. Copies of the
   * descriptors.
   * @returns false without NOTIFY_SOCKET; rejects on failure.
   */
  notifyElsewhere(state: string, fds?: readonly OwnedFd[]): Promise<boolean>;
  /**
   * StartTransientUnit of systemd (org.freedesktop.systemd1(5)): a scope for `pid`, collected when it is empty. Works on another
   * thread, in order within one `lane`, the uid of the asking user. Resolves with the scope's cgroup, as /proc/PID/cgroup names
   * it, after the process has moved there. If the process ends first (ESRCH), or systemd takes too long (ETIMEDOUT), no scope
   * stays.
   */
  startScope(options: {
    readonly name: string;
    readonly slice: string;
    readonly description: string;
    readonly pid: number;
    readonly lane: number;
  }): Promise<string>;
  /**
   * StopUnit for a scope that was started and is empty, on another thread.
   * @param directory its cgroup's.
   * @returns false if it has a process in it, is not started yet, or is gone.
   */
  stopEmptyScope(name: string, directory: string): Promise<boolean>;
  /**
   * sd_journal_sendv(3) on a thread of its own, which waits if the journal does not read. Each field is `NAME=value`, binary
   * safe. False if too many records wait already; this record is then lost.
   */
  journalSend(fields: readonly Uint8Array[]): boolean;
  /** The number of records that have yet to be sent. */
  journalPending(): number;
}

/** Beside the bundle in an installed package, in native/build/Release in a checkout. */
function addonPath(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  return here.endsWith(join('src', 'native'))
    ? join(here, '..', '..', 'native', 'build', 'Release', 'criu_service.node')
    : join(here, 'criu_service.node');
}

export const native = createRequire(import.meta.url)(addonPath()) as NativeBinding;
