/** Judges each thing of a tree: does it come back? Pure. Every row was tried with CRIU, as root and as a user without root. */
import { dumpsInternetSockets, nameOfVersion } from '../policy/criu-version.ts';
import type { Facts, Holder, Thing } from './things.ts';

/** An option that a thing needs, and a restore of it too, if `restore` is given. */
export interface Needed {
  readonly dump: string;
  readonly restore?: string;
}

/**
 * - `comes-back`: also with a `note`, about a change or a condition;
 * - `with-option`: the dump fails without the option, and the option is harmless;
 * - `does-not-come-back`: the dump fails, or succeeds and a restore does not bring the process back;
 * - `cannot-be-told`.
 */
export type Verdict =
  | { readonly verdict: 'comes-back'; readonly note?: string }
  | { readonly verdict: 'with-option'; readonly needs: Needed; readonly note: string }
  | { readonly verdict: 'does-not-come-back'; readonly why: string; readonly remedy: string }
  | { readonly verdict: 'cannot-be-told'; readonly note: string };

export type Circumstances = Pick<Facts, 'isRoot' | 'criu' | 'linux'>;

type Judge<Kind extends Thing['kind']> = (
  thing: Extract<Thing, { kind: Kind }>,
  circumstances: Circumstances,
) => Verdict;

const back: Verdict = { verdict: 'comes-back' };
const noted = (note: string): Verdict => ({ verdict: 'comes-back', note });
const needs = (needed: Needed, note: string): Verdict => ({ verdict: 'with-option', needs: needed, note });
const never = (why: string, remedy: string): Verdict => ({ verdict: 'does-not-come-back', why, remedy });
const unknown = (note: string): Verdict => ({ verdict: 'cannot-be-told', note });

/** The default of CRIU's --ghost-limit. */
const ghostLimit = 1024 * 1024;
const mebibyte = 1024 * 1024;

/** Major numbers of linux/major.h, and minor numbers of linux/miscdevice.h. */
const memory = 1;
const misc = 10;
const tun = 200;

const anonymousFiles: ReadonlySet<string> = new Set(['eventfd', 'eventpoll', 'signalfd', 'timerfd']);

const remedies: Readonly<Record<string, string>> = {
  io_uring:
    'start it where the kernel has io_uring switched off (as root: sysctl -w kernel.io_uring_disabled=2)',
  MPTCP: 'start the program without it (a program in Go: with GODEBUG=multipathtcp=0 in its environment)',
  perf_event: 'end the profiler that measures it, and start it without',
};

const judges: { readonly [Kind in Thing['kind']]: Judge<Kind> } = {
  file: ({ writers }) =>
    writers.length === 0
      ? back
      : noted(
          `it is also written by ${names(writers)}: a restore fails if the file has another size by then`,
        ),
  'no-mount': () =>
    never(
      'it lies on a mount that the process does not see (of another mount namespace, unmounted, or of the kernel alone)',
      'start the program without it',
    ),
  'not-openable': ({ path, use }) =>
    never(
      `you may not open it by its name to ${use} it, as a restore does (another user has opened it, or its mode has changed since)`,
      `start the program with a file of your own, or ask the owner of ${path} to let you ${use} it; or ask as root`,
    ),
  deleted: ({ size, links, writable, mapped }, { isRoot }) => {
    if (!isRoot && !writable) {
      return never(
        'it was deleted or replaced, and only who may write in its directory could create it again',
        'start the program again, with the new file; or ask as root',
      );
    }
    if (links > 0 && mapped && !isRoot) {
      return never(
        'it is mapped, has lost this name and has another one, and only root’s CRIU can give it a name again',
        'ask as root',
      );
    }
    if (links > 0) return needs({ dump: '--link-remap' }, 'it has lost this name, and has another one');
    return size <= ghostLimit
      ? back
      : needs(
          { dump: `--ghost-limit ${Math.ceil(size / mebibyte)}M` },
          `it is deleted, and has ${size} bytes`,
        );
  },
  terminal: ({ end, holders, outside, stopped }) => {
    if (end === 'inside') return back;
    if (end === 'nobody') return unknown('its terminal has gone');
    if (outside > 1) {
      return never(
        `the tree has ${outside} terminals whose other ends are outside, and CRIU brings one back`,
        'dump the program without the shell or program that has the other terminal',
      );
    }
    return stopped
      ? never(
          'a process with a terminal is stopped, and would be hung up by its restore',
          'continue it before (fg, or kill -CONT)',
        )
      : needs({ dump: '--shell-job' }, `its other end is ${of(end, holders)}: restore it at a terminal`);
  },
  console: () => unknown('CRIU brings back only some terminals that are no pseudo terminals'),
  pipe: ({ end, use, holders, inode }) => {
    if (end === 'inside' || end === 'nobody') return back;
    const [other, effect] =
      use === 'write'
        ? ['read', 'its next output would end it']
        : ['written', 'it would read the end of its input'];
    const remedy =
      use === 'write'
        ? 'start it with its output in a file (nohup PROGRAM >FILE 2>&1)'
        : 'start it with its input from a file or from /dev/null';
    const standard = use === 'write' ? '--stdout FILE or --stderr FILE' : '--stdin FILE';
    return never(
      `it is ${other} by ${of(end, holders)}: after a restore ${effect}`,
      `${remedy}; or dump with --force and restore with ${standard} (any other descriptor: --inherit-fd 'fd[N]:pipe:[${inode}]')`,
    );
  },
  fifo: () => noted('a restore opens its name again'),
  unix: ({ type, end, peer, holders, file }, { isRoot }) => {
    if (file?.state === 'moved' && isRoot) {
      return never(
        `its file was renamed, and another one has its name ${file.name}, to which a restore would bind it`,
        'move that file away',
      );
    }
    if (!isRoot && (file?.state === 'gone' || file?.state === 'foreign')) {
      return never(
        `its file ${file.name} was ${file.state === 'gone' ? 'removed or renamed' : 'replaced by one of another user'}, and only root’s CRIU sees the owner that a restore has to give it`,
        'start the program again, with a socket that keeps its file; or ask as root',
      );
    }
    if (end === 'inside' || end === 'nobody') return back;
    if (end === 'unknown') return unknown('its other end is not known');
    const whose = `${peer === '' ? 'no name' : peer}, of ${of(end, holders)}`;
    if (type === 'datagram' && peer.startsWith('/')) {
      return needs({ dump: '--ext-unix-sk', restore: '--ext-unix-sk' }, `it sends to ${whose}`);
    }
    return never(
      `it is connected to ${whose}, and no restore can connect it again`,
      journal.has(peer)
        ? 'start it with its output in a file (in a unit: StandardOutput=append:FILE, StandardError=inherit); or dump with --force and restore with --stdout FILE or --stderr FILE'
        : 'start the program without this connection, or dump it together with the other end',
    );
  },
  internet: ({ protocol, state, waiting = 0, isInside }, { isRoot, criu, linux }) => {
    if (criu && !dumpsInternetSockets(criu, linux)) {
      return never(
        `CRIU ${nameOfVersion(criu)} cannot dump a ${protocol} socket on Linux ${linux}`,
        'install CRIU 4.2.1 or newer',
      );
    }
    switch (state) {
      case 'none':
        return back;
      case 'listening':
        return waiting === 0
          ? back
          : needs(
              { dump: '--skip-in-flight' },
              `it has not accepted every connection yet (${waiting} wait), and these are left out`,
            );
      case 'unknown':
        return unknown('its state is not known');
      case 'connecting':
      case 'connected':
        if (isInside && !isRoot) {
          return unknown(
            'both of its ends are in the tree, and come back closed, with --tcp-close at the dump and at the restore: few programs outlive that',
          );
        }
        return isRoot
          ? needs(
              { dump: '--tcp-established', restore: '--tcp-established' },
              'its connection comes back while its peer waits for it',
            )
          : needs({ dump: '--tcp-close', restore: '--tcp-close' }, 'its connection comes back closed');
    }
  },
  socket: ({ protocol }, { isRoot }) => {
    if (protocol === undefined) return unknown('its protocol is not known');
    if (protocol === 'NETLINK') return back;
    if (protocol === 'PACKET') return isRoot ? back : unknown('its restore takes privileges');
    return never(`CRIU knows no ${protocol} sockets`, remedies[protocol] ?? 'start the program without it');
  },
  anonymous: ({ name }, { isRoot }) => {
    if (anonymousFiles.has(name)) return back;
    if (isRoot && /^(bpf-map|fanotify)$/.test(name))
      return unknown('CRIU brings back only some of its kinds');
    return never(
      `CRIU cannot dump a file of the kind ${name}`,
      remedies[name] ?? 'start the program without it',
    );
  },
  watches: ({ count }) =>
    count === 0
      ? back
      : unknown(
          'CRIU has to find the paths of its watches; if the dump fails: --force-irmap --irmap-scan-path DIR, with a directory above them',
        ),
  pidfd: ({ target, inside }) =>
    inside
      ? back
      : target === -1
        ? unknown('its process has ended')
        : never(
            `it refers to process ${target} outside of the tree`,
            'dump the process together with that one',
          ),
  device: ({ major, minor, path }) =>
    major === memory || (major === misc && minor === tun)
      ? back
      : never(
          `CRIU cannot dump a file of the device ${path} (${major}:${minor})`,
          'start the program without it',
        ),
  lock: ({ type }) => needs({ dump: '--file-locks', restore: '--file-locks' }, `it has a lock (${type})`),
  'system-v-memory': (_, { isRoot }) =>
    never(
      'CRIU dumps System V shared memory only in an IPC namespace of its own',
      isRoot
        ? 'start the program in a container, or with its shared memory elsewhere (shm_open)'
        : 'start the program with its shared memory elsewhere (shm_open); or in a container, which root dumps',
    ),
  'mapped-device': ({ path }) =>
    never(`CRIU cannot dump a mapping of the device ${path}`, 'start the program without it'),
  session: ({ leader }) =>
    needs(
      { dump: '--shell-job', restore: '--shell-job' },
      `it belongs to the session of process ${leader} outside of the tree`,
    ),
  traced: ({ by }) =>
    never(
      `${name(by)} traces it (a debugger, strace), and a process has one tracer`,
      `end process ${by.pid}`,
    ),
  credential: ({ obstacle: { consequence, what, remedy } }) =>
    consequence === 'changed' ? noted(`it ${what}`) : never(`it ${what}`, remedy),
  foreign: ({ user }) => never(`it belongs to ${user}, and only root and ${user} may dump it`, 'ask as root'),
  // The service decides about it, before it touches the process.
  'ptrace-scope': ({ value }) =>
    unknown(
      `kernel.yama.ptrace_scope is ${value}, which keeps users without root from tracing most of their own processes`,
    ),
  limits: ({ user, gid }) =>
    user === undefined
      ? never(
          `its group is ${gid}, and root has no CAP_SYS_RESOURCE on this machine (a container), which it takes to read the limits of a process in another group`,
          'give the container that capability',
        )
      : never(
          `it belongs to ${user}, and root has no CAP_SYS_RESOURCE on this machine (a container), which it takes to read the limits of another user’s process`,
          `dump it as ${user}, or give the container that capability`,
        ),
  interrupted: ({ program }) =>
    never(
      `a restore interrupts the wait of ${program}, and ${program} takes that for a failure and ends its program`,
      `dump the program inside of it, by its pid; or start it in tmux or screen in place of ${program}`,
    ),
  sandboxed: ({ program }) =>
    never(
      `${program} has entered a sandbox (Landlock), in which CRIU cannot work, and the attempt could harm it`,
      'dump it when this part of the work is done; or start it with another compressor (zstd, pigz)',
    ),
  'contains-criuctl': () =>
    never(
      'criuctl is a process of this tree, which cannot be frozen while criuctl works',
      'start criuctl from outside of it (another terminal, systemd-run --user)',
    ),
  'kernel-thread': () => never('it is a thread of the kernel', 'name another process'),
  unreadable: ({ what }) => unknown(`${what} cannot be read`),
};

const journal: ReadonlySet<string> = new Set(['/run/systemd/journal/stdout']);

export function judge(thing: Thing, circumstances: Circumstances): Verdict {
  return (judges[thing.kind] as Judge<Thing['kind']>)(thing as never, circumstances);
}

function of(end: string, holders: readonly Holder[]): string {
  return end === 'unseen' || holders.length === 0
    ? 'a process outside that you may not look at'
    : `${names(holders)} outside`;
}

function name({ pid, name }: Holder): string {
  return `${name} (process ${pid})`;
}

const mostNamed = 3;

function names(holders: readonly Holder[]): string {
  const named = holders.slice(0, mostNamed).map(name).join(', ');
  return holders.length > mostNamed ? `${named} and others` : named;
}
