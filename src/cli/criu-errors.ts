/**
 * CRIU's errors in sentences: what is in the way, and what to do about it as this user, on this machine. Pure. Each row was provoked
 * (test/system/advice.test.ts); a row has a remedy only if the remedy works.
 */
import type { Verb } from './options/row.ts';
import type { Person } from './people.ts';
import { quoted } from './words.ts';

/** The request, and its user. */
export interface Asked {
  readonly verb: Verb;
  readonly isRoot: boolean;
  /** The process of a dump. */
  readonly pid: number | undefined;
  /** Its tracer. */
  readonly tracer?: Person | undefined;
  /** True if the installed CRIU can dump TCP and UDP sockets on this kernel. Starts it, so only a row that needs the answer asks. */
  dumpsInternetSockets(): Promise<boolean>;
}

export interface Sentence {
  readonly why: string;
  readonly remedies: readonly string[];
}

type Row = readonly [
  pattern: RegExp,
  tell: (groups: readonly string[], asked: Asked) => Sentence | Promise<Sentence>,
];

const mebibyte = 1024 * 1024;

const told = (why: string, ...remedies: string[]): Sentence => ({ why, remedies });

/** The way to the name of the other end. */
const lookAt = ({ pid }: Asked): string => `criuctl look ${pid ?? 'PID'} names it`;

const ownFile =
  'If it is its output: start the program with its output in a file (nohup PROGRAM >FILE 2>&1; in a unit: StandardOutput=append:FILE)';
const together = 'Otherwise start it without this connection, or dump it together with the other end';

const tooOld = told(
  'this CRIU cannot dump TCP and UDP sockets on this kernel',
  'Install CRIU 4.2.1 or newer',
);

/** The first row counts whose pattern is in CRIU's lines: causes before consequences. */
const rows: readonly Row[] = [
  [
    // The kernel hands no io_uring to another process.
    /send_fds failed \(-22\)/,
    (_, asked) =>
      told(
        `a descriptor is of a kind that no other process can be given, as an io_uring is (${lookAt(asked)})`,
        'If it is an io_uring: start the program where the kernel has io_uring switched off (as root: sysctl -w kernel.io_uring_disabled=2)',
      ),
  ],
  [
    /Can't dump file (\d+) of that type \[\d+\] \((.*?)\s*\)/,
    ([fd, kind]) =>
      told(`descriptor ${fd} (${kind}) is of a kind that CRIU cannot dump`, 'Start the program without it'),
  ],
  [
    /Task (\d+) with SysVIPC shmem map/,
    ([pid], { isRoot }) =>
      told(
        `process ${pid} has System V shared memory, which CRIU dumps only in an IPC namespace of its own`,
        isRoot
          ? 'Start the program in a container, or with its shared memory elsewhere (shm_open)'
          : 'Start the program with its shared memory elsewhere (shm_open); or in a container, which root dumps',
      ),
  ],
  [
    /Can't dump half of stream unix connection/,
    (_, asked) =>
      told(
        `a Unix stream socket is connected to a program outside of the tree (${lookAt(asked)}), and no restore can connect it again`,
        ownFile,
        together,
      ),
  ],
  [
    /Can't dump name-less external socket/,
    (_, asked) =>
      told(
        `a Unix datagram socket is connected to a socket without a name outside of the tree (${lookAt(asked)}), and no restore can connect it again`,
        'Start the program without it, or dump it together with the other end',
      ),
  ],
  [
    /External socket is used\. Consider using --ext-unix-sk/,
    (_, asked) =>
      told(
        `a Unix socket is connected to a program outside of the tree (${lookAt(asked)})`,
        'If it is a datagram socket (syslog): --ext-unix-sk at the dump and at the restore. No restore can connect a stream socket again (D-Bus, the journal)',
      ),
  ],
  [
    /pidfd pid (\d+) is not a part of process tree/,
    ([pid]) =>
      told(
        `a pidfd refers to process ${pid}, which is not in the tree`,
        'Dump it together with that process, or start the program without the pidfd',
      ),
  ],
  [
    /Some file locks are hold by dumping tasks/,
    () => told('the program holds file locks', 'Try it with --file-locks, at the dump and at the restore'),
  ],
  [
    /Can't dump ghost file (.*) of (\d+) size, increase limit/,
    ([path, size]) =>
      told(
        `the deleted file ${path} has ${size} bytes`,
        `Try it with --ghost-limit ${Math.ceil(Number(size) / mebibyte)}M`,
      ),
  ],
  [
    /Can't create link remap for (.*)\. Use link-remap option/,
    ([path]) => told(`the file ${path} has lost this name, and has another one`, 'Try it with --link-remap'),
  ],
  [
    /Connected TCP socket, consider using --tcp-established/,
    async (_, { isRoot, dumpsInternetSockets }) =>
      (await dumpsInternetSockets())
        ? told(
            'the program has a TCP connection',
            isRoot
              ? 'Try it with --tcp-established, at the dump and at the restore, while the peer waits; or with --tcp-close at both'
              : 'Try it with --tcp-close, at the dump and at the restore: the connection comes back closed',
          )
        : tooOld,
  ],
  [
    /Failed to lock TCP connection/,
    (_, { isRoot }) =>
      isRoot
        ? told(
            'CRIU cannot hold up the TCP connection with iptables',
            'Try it with --network-lock nftables, or install iptables',
          )
        : told(
            'only root can bring a TCP connection back as it is',
            'Try it with --tcp-close in place of --tcp-established, at the dump and at the restore',
          ),
  ],
  [
    /Unsupported proto 262 for socket/,
    () =>
      told(
        'a socket is of Multipath TCP, which CRIU does not know',
        'Start the program without it (a program in Go: with GODEBUG=multipathtcp=0 in its environment)',
      ),
  ],
  [
    /Unknown socket collected \(family (\d+)\)/,
    ([family]) =>
      told(
        `a socket is of a kind that CRIU does not know (address family ${family})`,
        'Start the program without it',
      ),
  ],
  [
    /fsnotify:\s+Can't dump that handle/,
    () =>
      told(
        'CRIU has not found the path of a file that the program watches (inotify)',
        'Try it with --force-irmap --irmap-scan-path DIR, with a directory above the file',
      ),
  ],
  [
    // The same words without the letter are about Unix sockets, which no option helps.
    /In-flight connection \(l\)/,
    async (_, { dumpsInternetSockets }) =>
      (await dumpsInternetSockets())
        ? told(
            'the program has a TCP connection that it has not accepted yet',
            'Try it with --skip-in-flight: the connection is left out',
          )
        : tooOld,
  ],
  // SO_PASSCRED of SOL_SOCKET.
  [/Can't get 1:16 opt/, () => tooOld],
  [
    /Found dangling tty|without correspond master peer/,
    () =>
      told(
        'a terminal of the program has its other end outside of the tree',
        'Try it with --shell-job, and restore it at a terminal',
      ),
  ],
  [
    /The root process (\d+) is not a session leader/,
    ([pid]) =>
      told(
        `process ${pid} belongs to the session of a process that is not in the tree`,
        'Try it with --shell-job, at the dump and at the restore',
      ),
  ],
  [
    /Tracking memory is not available/,
    () => told('this kernel cannot track changed memory', 'Leave --track-mem out'),
  ],
  [
    /Unable to connect a transport socket: Operation not permitted/,
    () =>
      told(
        'a process of the tree has entered a sandbox (Landlock), in which CRIU cannot work',
        'Dump it when that part of the work is done (xz does so: use zstd or pigz)',
      ),
  ],
  [
    /Can't get rlimit \d+: Operation not permitted/,
    () =>
      told(
        'a process of the tree belongs to another user or group, and root has no CAP_SYS_RESOURCE on this machine (a container)',
        'Dump it as that user, or give the container that capability',
      ),
  ],
  [
    /File (\S.*) has bad size (\d+) \(expect (\d+)\)/,
    ([path, size, expected]) =>
      told(
        `${rooted(path)} has ${size} bytes, and had ${expected} bytes at the dump`,
        Number(size) > Number(expected)
          ? `Restore with --restore-files: what came after is kept beside it, in ${rooted(path)}.after-${expected}`
          : 'The bytes that it lacks are not in the images: bring the file back from a copy of your own',
      ),
  ],
  [
    // After its end a connection keeps its port for a minute (TIME_WAIT), unless it has SO_REUSEADDR.
    /Can't bind inet socket .*: Address already in use/,
    () =>
      told(
        'a port of the program is in use: for a minute after its end by its own connections, or by another program',
        'Try it again in a minute',
        'If the port stays in use, end the program that has it (ss --all --numeric --processes)',
      ),
  ],
  [
    /File (\S.*) has bad mode 0(\d+) \(expect 0(\d+)\)/,
    ([path, mode, expected]) =>
      told(
        `${rooted(path)} has the mode ${permissions(mode)}, and had ${permissions(expected)} at the dump`,
        'Try it with --skip-file-rwx-check',
        `Or as its owner: chmod ${permissions(expected)} ${quoted(rooted(path))}`,
      ),
  ],
  [
    // CRIU uses the same words for files that options name.
    /files-reg\.c:\d+\): Can't open file (.*?)(?: on restore)?: Permission denied/,
    ([path]) =>
      told(
        `you may not open ${rooted(path)}, which the program had open`,
        `Ask its owner to let you (ls -l ${quoted(rooted(path))}); if that changes its mode, restore with --skip-file-rwx-check`,
        'Or as root: restore with --trust-images',
      ),
  ],
  [
    /files-reg\.c:\d+\): Can't open file (.*?)(?: on restore)?: No such file or directory/,
    ([path]) =>
      told(
        `${rooted(path)} is missing, which the program had open at the dump`,
        'Put the file back as it was',
      ),
  ],
];

/** CRIU's paths are relative to the root. */
function rooted(path = ''): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** A mode without the type of its file, as chmod(1) takes it. */
function permissions(mode = ''): string {
  return mode.slice(-4).replace(/^0/, '');
}

/** @param lines CRIU's error lines and its message. @returns undefined for an error that has no row. */
export async function sentenceFor(lines: readonly string[], asked: Asked): Promise<Sentence | undefined> {
  const { tracer, pid } = asked;
  if (tracer) {
    const name = `${tracer.name} (process ${tracer.pid})`;
    return told(
      `${name} traces process ${pid} (a debugger, strace), and a process has one tracer`,
      `End process ${tracer.pid}`,
    );
  }
  const text = lines.join('\n');
  for (const [pattern, tell] of rows) {
    const [found, ...groups] = pattern.exec(text) ?? [];
    if (found !== undefined) return tell(groups, asked);
  }
  return undefined;
}
