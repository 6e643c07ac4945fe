/**
 * Judges the things that a restored tree holds before it runs. Pure: a table over the holdings that were read while its cgroup
 * was frozen.
 *
 * CRIU opens files that the images name, at paths that their owner may change at any time, with a capability to follow links of
 * /proc that are closed to that owner. So a successful open proves nothing: each thing that a task holds must be one that the
 * caller could have opened alone, in the same mode, or must be the caller's own.
 */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { anotherFile, type Holding } from './holdings.ts';

/** The surroundings that holdings are judged in. */
export interface Surroundings {
  /** The uid of the caller. */
  readonly uid: number;
  /** The pid of the engine. */
  readonly engine: number;
  /** The pids of the restored processes. */
  readonly members: ReadonlySet<number>;
  /** The caller's namespaces, as their links name them: `net:[4026531840]`. */
  readonly namespaces: ReadonlySet<string>;
  /** The id of the mount at /proc. */
  readonly procMount: number;
}

/** The first rule that applies decides. */
interface Rule {
  /** The subject of the rule, for readers and failing tests. */
  readonly of: string;
  readonly applies: (holding: Holding, where: Surroundings) => boolean;
  /** Why the tree must not run, as the end of a sentence that begins "holds it, which"; undefined when it may. */
  readonly refuses?: (holding: Holding) => string;
}

const { EACCES } = constants.errno;

/** The type of procfs in statfs(2). */
const PROC_SUPER_MAGIC = 0x9fa0;

/** Marks files whose path was unlinked, and files that never had a path: memfds, shared memory. */
const nameless = ' (deleted)';

/**
 * Kernel objects that every process may create, and that CRIU restores. Other objects are refused: a ring of io_uring(7) can hold
 * files that no link shows.
 */
const anonymousInodes: ReadonlySet<string> = new Set([
  'anon_inode:[eventpoll]',
  'anon_inode:[eventfd]',
  'anon_inode:[timerfd]',
  'anon_inode:[signalfd]',
  'anon_inode:[pidfd]',
  'anon_inode:inotify',
  'anon_inode:[fanotify]',
]);

/**
 * Files below /proc/PID that are the same for every reader: their mode is 0444 or more, the kernel does not check access when
 * they are opened, and checks the reader when they are read. Directories give only names; files below them are checked when they
 * are opened.
 */
const harmless: ReadonlySet<string> = new Set([
  '',
  'task',
  'stat',
  'statm',
  'status',
  'comm',
  'cmdline',
  'cgroup',
  'limits',
  'mounts',
  'mountinfo',
  'oom_score',
  'schedstat',
]);

export const rules: readonly Rule[] = [
  {
    of: 'a file system that the caller’s own program serves',
    applies: ({ fuseOwner }, { uid }) => fuseOwner === uid,
  },
  {
    of: 'things that cannot be looked at',
    applies: ({ failure }) => failure !== 0,
    refuses: ({ failure }) => `cannot be looked at (${getSystemErrorName(-failure)})`,
  },
  {
    of: 'sockets with descriptors in flight',
    applies: ({ queued }) => queued > 0,
    refuses: ({ queued }) => `has ${queued} descriptors in its queue, where they cannot be looked at`,
  },
  {
    of: 'pipes, sockets, and other things without a path, whose owner does not matter',
    applies: ({ target }, { namespaces }) =>
      /^(pipe|socket):\[/.test(target) || anonymousInodes.has(target) || namespaces.has(target),
  },
  {
    of: 'other kernel objects',
    applies: ({ target }) => !target.startsWith('/'),
    refuses: () => 'is nothing that a process of yours is restored with',
  },
  {
    of: 'files of the engine’s process',
    applies: (holding, where) => processOf(holding, where) === where.engine,
    refuses: () => 'is the engine’s',
  },
  {
    // The caller may be denied the files of a task that is not dumpable, although the path leads to exactly these files.
    of: 'files of the tree’s own processes',
    applies: (holding, where) =>
      where.members.has(processOf(holding, where) ?? 0) && (holding.path === 0 || holding.path === EACCES),
  },
  {
    of: 'public facts about a process, dead or alive',
    applies: (holding, where) =>
      processOf(holding, where) !== undefined &&
      !holding.access.includes('w') &&
      harmless.has(fileOfProcess(holding)),
  },
  {
    of: 'another process of the caller’s, with no more rights than the caller',
    applies: (holding, where) =>
      processOf(holding, where) !== undefined && holding.path === 0 && holding.process === 0,
  },
  {
    of: 'any other process',
    applies: (holding, where) => processOf(holding, where) !== undefined,
    refuses: () => 'belongs to a process that you could not look into, or to one that has ended',
  },
  {
    of: 'a process on another mount than /proc, where its pid means nothing',
    applies: ({ magic, target }) => magic === PROC_SUPER_MAGIC && /\/\d+(\/|$)/.test(target),
    refuses: () => 'belongs to a process of who knows what pid namespace',
  },
  {
    of: 'files that the caller could have opened alone',
    applies: ({ path }) => path === 0,
  },
  {
    // Images name shared memory of a tree by a memfd (open_shmem in CRIU's shmem.c). An engine has such memory, too, and keeps
    // pointers in it.
    of: 'shared memory that never had a descriptor',
    applies: ({ target }) => target === `/dev/zero${nameless}`,
    refuses: () => 'is shared memory of a process that was not restored',
  },
  {
    of: 'unlinked files of the caller’s',
    applies: ({ target, owner, magic }, { uid }) =>
      target.endsWith(nameless) && owner === uid && magic !== PROC_SUPER_MAGIC,
  },
  {
    of: 'unlinked files of another user’s',
    applies: ({ target }) => target.endsWith(nameless),
    refuses: ({ owner }) => `is no path’s any more, and not yours but uid ${owner}’s`,
  },
  {
    of: 'files that their path does not lead to',
    applies: ({ path }) => path === undefined || path === anotherFile,
    refuses: () => 'is not what this path leads to',
  },
  {
    of: 'everything else',
    applies: () => true,
    refuses: ({ access, path }) =>
      `you could not ${deedOf(access)} by that path (${getSystemErrorName(-(path ?? 0))})`,
  },
];

/** @returns why the tree must not run, beginning with a verb; undefined when it may. */
export function judgeHolding(holding: Holding, where: Surroundings): string | undefined {
  const reason = rules.find(({ applies }) => applies(holding, where))?.refuses?.(holding);
  return reason === undefined ? undefined : `${describe(holding)}, which ${reason}`;
}

/**
 * The pid in the path of a file below /proc/PID, alive or not: after the process has exited, the kernel does not call such a file
 * deleted, and another process may have that pid by now. On the mount at /proc, a path begins with the process's directory; on
 * any other mount of that file system, a part of it may have any name.
 */
function processOf({ magic, mount, target }: Holding, { procMount }: Surroundings): number | undefined {
  if (magic !== PROC_SUPER_MAGIC || mount !== procMount) return undefined;
  const pid = /^\/proc\/(\d+)(\/|$| )/.exec(target)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** The name below the directory of a process or of a thread. */
function fileOfProcess({ target }: Holding): string {
  const path = target.endsWith(nameless) ? target.slice(0, -nameless.length) : target;
  return path.replace(/^\/proc\/\d+(\/task\/\d+)?\/?/, '');
}

/** The most characters of a path that a refusal shows. */
const longestPath = 200;

function describe({ pid, name, target }: Holding): string {
  // The addon gives one character for each byte.
  const path = Buffer.from(target, 'latin1').toString().replace(/\p{C}/gu, '?');
  const shown = path.length > longestPath ? `${path.slice(0, longestPath)}…` : path;
  const [kind, what] = name.split('/');
  switch (kind) {
    case 'fd':
      return what === undefined
        ? `has descriptors (process ${pid})`
        : `holds ${shown} (descriptor ${what} of process ${pid})`;
    case 'map_files':
      return what === undefined ? `has mappings (process ${pid})` : `maps ${shown} (process ${pid})`;
    case 'cwd':
      return `has the working directory ${shown} (process ${pid})`;
    case 'exe':
      return `has the program ${shown} (process ${pid})`;
    default:
      return `has threads (process ${pid})`;
  }
}

function deedOf(access: string): string {
  if (access.includes('w')) return 'open for writing';
  if (access.includes('r')) return 'open for reading';
  return access.includes('x') ? 'use' : 'find';
}
