/**
 * What a restored tree may hold before it runs. Pure: a table over what was read and asked while its cgroup was frozen.
 *
 * CRIU opens what images name, at paths that their owner may change at any time, with a capability that follows links of /proc
 * which are closed to that owner. So nothing is taken from the fact that a file was opened: whatever a task holds must be a thing
 * that the caller could have opened alone, in the same mode, or that is the caller's own.
 */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { anotherFile, type Holding } from './holdings.ts';

/** In what surroundings something is held. */
export interface Surroundings {
  /** The uid of the caller. */
  readonly uid: number;
  /** The pid of the engine. */
  readonly engine: number;
  /** The pids of what was restored. */
  readonly members: ReadonlySet<number>;
  /** The caller's namespaces, as their links name them: `net:[4026531840]`. */
  readonly namespaces: ReadonlySet<string>;
  /** The id of the mount at /proc. */
  readonly procMount: number;
}

/** The first rule that applies decides. */
interface Rule {
  /** What is meant, in the words of a comment. */
  readonly of: string;
  readonly applies: (holding: Holding, where: Surroundings) => boolean;
  /** Why the tree must not run, as the end of a sentence that begins "holds it, which"; undefined when it may. */
  readonly refuses?: (holding: Holding) => string;
}

const { EACCES } = constants.errno;

/** What statfs(2) says of procfs. */
const PROC_SUPER_MAGIC = 0x9fa0;

/** A path that nothing leads to any more, and what never had one: memfds, shared memory. */
const nameless = ' (deleted)';

/**
 * What the kernel makes for whoever asks. All others would be something else than CRIU restores for a caller: a ring of io_uring(7)
 * can hold files that no link shows.
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
 * Files below /proc/PID that tell everybody the same: their mode is 0444 or more, the kernel asks nothing when they are opened, and
 * when they are read it asks who reads. The directories give nothing but names; what is opened below them is asked for then.
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
    of: 'a file system that is the caller’s program',
    applies: ({ fuseOwner }, { uid }) => fuseOwner === uid,
  },
  {
    of: 'what cannot be looked at',
    applies: ({ failure }) => failure !== 0,
    refuses: ({ failure }) => `cannot be looked at (${getSystemErrorName(-failure)})`,
  },
  {
    of: 'descriptors on their way',
    applies: ({ queued }) => queued > 0,
    refuses: ({ queued }) => `has ${queued} descriptors in its queue, where they cannot be looked at`,
  },
  {
    of: 'pipes, sockets, and what else has no path and no owner that counts',
    applies: ({ target }, { namespaces }) =>
      /^(pipe|socket):\[/.test(target) || anonymousInodes.has(target) || namespaces.has(target),
  },
  {
    of: 'other objects of the kernel’s',
    applies: ({ target }) => !target.startsWith('/'),
    refuses: () => 'is nothing that a process of yours is restored with',
  },
  {
    of: 'what is the engine’s',
    applies: (holding, where) => processOf(holding, where) === where.engine,
    refuses: () => 'is the engine’s',
  },
  {
    // Of one that is not dumpable the caller may not open much, and it is what the path leads to all the same.
    of: 'what is the tree’s own',
    applies: (holding, where) =>
      where.members.has(processOf(holding, where) ?? 0) && (holding.path === 0 || holding.path === EACCES),
  },
  {
    of: 'what everybody may know of a process, a dead one included',
    applies: (holding, where) =>
      processOf(holding, where) !== undefined &&
      !holding.access.includes('w') &&
      harmless.has(fileOfProcess(holding)),
  },
  {
    of: 'another process of the caller’s, which has nothing more than the caller',
    applies: (holding, where) =>
      processOf(holding, where) !== undefined && holding.path === 0 && holding.process === 0,
  },
  {
    of: 'any other process',
    applies: (holding, where) => processOf(holding, where) !== undefined,
    refuses: () => 'belongs to a process that you could not look into, or to one that has ended',
  },
  {
    of: 'a process by another way than /proc, where its pid tells nothing',
    applies: ({ magic, target }) => magic === PROC_SUPER_MAGIC && /\/\d+(\/|$)/.test(target),
    refuses: () => 'belongs to a process of who knows what pid namespace',
  },
  {
    of: 'what the caller could have opened alone',
    applies: ({ path }) => path === 0,
  },
  {
    // Images name shared memory of a tree by a memfd (open_shmem in CRIU's shmem.c). An engine has some, in which it keeps pointers.
    of: 'shared memory that no descriptor was ever made for',
    applies: ({ target }) => target === `/dev/zero${nameless}`,
    refuses: () => 'is shared memory of a process that was not restored',
  },
  {
    of: 'what no path leads to any more, and is the caller’s',
    applies: ({ target, owner, magic }, { uid }) =>
      target.endsWith(nameless) && owner === uid && magic !== PROC_SUPER_MAGIC,
  },
  {
    of: 'the same of somebody else’s',
    applies: ({ target }) => target.endsWith(nameless),
    refuses: ({ owner }) => `is no path’s any more, and not yours but uid ${owner}’s`,
  },
  {
    of: 'another file than the path leads to',
    applies: ({ path }) => path === undefined || path === anotherFile,
    refuses: () => 'is not what this path leads to',
  },
  {
    of: 'all else',
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
 * The pid that the path of a file below /proc/PID names, alive or not: the kernel does not call such a file deleted when its process
 * has ended, and another one may have that pid by now. On that mount a path begins with the directory of the process; on any other
 * one of the same file system a part of it may be mounted under any name.
 */
function processOf({ magic, mount, target }: Holding, { procMount }: Surroundings): number | undefined {
  if (magic !== PROC_SUPER_MAGIC || mount !== procMount) return undefined;
  const pid = /^\/proc\/(\d+)(\/|$| )/.exec(target)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** Its name below the directory of a process, or of one of its threads. */
function fileOfProcess({ target }: Holding): string {
  const path = target.endsWith(nameless) ? target.slice(0, -nameless.length) : target;
  return path.replace(/^\/proc\/\d+(\/task\/\d+)?\/?/, '');
}

/** Enough of a path to find it. */
const longestPath = 200;

function describe({ pid, name, target }: Holding): string {
  // What the addon has as one character for each byte.
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
