/**
 * What would keep a dumped process from coming back as it was, if its caller without root restores it. Pure.
 *
 * An engine is its caller, so a restored process has its caller's groups, namespaces, root directory and label, and no limit above
 * its caller's. CRIU dumps most processes that differ, ends them, and fails at the restore, or restores them differently.
 */
import type { GroupsDifference } from '../proc/groups.ts';
import type { TreeThread } from '../proc/process-tree.ts';
import type { Surroundings } from '../proc/surroundings.ts';
import { namesOf } from './capabilities.ts';
import { inNamespaceOfItsOwn } from './namespace-words.ts';

/**
 * - `no-dump`: CRIU without root cannot dump the process at all, so the request is refused;
 * - `no-restore`: it could dump it. The request is refused if it ends the process, and served with a warning if not;
 * - `changed`: the process comes back changed. The request is served with a warning.
 */
export type Consequence = 'no-dump' | 'no-restore' | 'changed';

/** A property of a process that its caller could not give back. */
export interface Obstacle {
  readonly pid: number;
  readonly consequence: Consequence;
  /** The predicate of a sentence about the process. */
  readonly what: string;
  /** What to do instead, if the process is not to be ended. */
  readonly remedy: string;
}

/** The facts about the caller and the machine that the rows compare with. */
export interface Measure {
  /** Every capability that this kernel has. */
  readonly allCapabilities: bigint;
  /** The caller's inheritable set. */
  readonly inheritable: bigint;
  /** The name of a group, where it is known. */
  readonly groupName: (gid: number) => string | undefined;
}

const leave = 'use leave_running (criuctl: -R)';
const byRoot =
  'only root can dump that: ask as root, or with the command of its container (podman container checkpoint)';

interface Row<Subject, Other> {
  readonly consequence: Consequence;
  readonly what: (subject: Subject, other: Other) => string | undefined;
  readonly remedy: string;
}

const threadRows: readonly Row<TreeThread, Measure>[] = [
  {
    consequence: 'no-dump',
    what: ({ mapped }) => (mapped ? inNamespaceOfItsOwn('user') : undefined),
    remedy: byRoot,
  },
  {
    // PTRACE_O_SUSPEND_SECCOMP and PTRACE_SECCOMP_GET_FILTER take CAP_SYS_ADMIN.
    consequence: 'no-dump',
    what: ({ seccomp }) =>
      seccomp === 0
        ? undefined
        : 'is under a seccomp filter (SystemCallFilter=, a container), which only root can dump',
    remedy: 'ask as root, or start it without',
  },
  {
    consequence: 'no-restore',
    what: (thread, { allCapabilities }) => {
      const lost = beyondRestore(thread, allCapabilities);
      return lost === 0n
        ? undefined
        : `has no ${namesOf(lost)} in its bounding set, and only root could restore that (CAP_SETPCAP)`;
    },
    remedy: `start it with no_new_privs, or ${leave}`,
  },
  {
    // capset(2) takes CAP_SETPCAP to add to the inheritable set.
    consequence: 'no-restore',
    what: (thread, { inheritable }) => {
      const beyond = thread.inheritable & ~inheritable;
      return beyond === 0n
        ? undefined
        : `has ${namesOf(beyond)} in its inheritable set, which you lack there, so that you could not restore it`;
    },
    remedy: `start it without (setpriv --inh-caps=-all), ask from a login that has it, or ${leave}`,
  },
  {
    consequence: 'no-restore',
    what: ({ otherGroups }, { groupName }) => otherGroups && groupsThatDiffer(otherGroups, groupName),
    remedy: `ask from a login with the same groups (newgrp, a new login), or ${leave}`,
  },
];

/** The namespaces whose content CRIU dumps by entering them, which takes root; it takes no notice of the others. */
const dumpedByRoot: ReadonlySet<string> = new Set(['user', 'mnt', 'net', 'ipc', 'uts', 'pid']);

const processRows: readonly Row<Surroundings, Surroundings>[] = [
  {
    consequence: 'no-dump',
    what: (process, caller) => {
      const names = otherNamespaces(process, caller);
      const other = names.find((name) => name === 'user') ?? names.find((name) => dumpedByRoot.has(name));
      return other && inNamespaceOfItsOwn(other);
    },
    remedy: byRoot,
  },
  {
    consequence: 'no-restore',
    what: (process, caller) => {
      const [other] = otherNamespaces(process, caller);
      return other && `${inNamespaceOfItsOwn(other)}, which a restore of yours would not give back`;
    },
    remedy: `ask as root, or ${leave}`,
  },
  {
    consequence: 'no-restore',
    what: ({ root }, caller) =>
      root === caller.root
        ? undefined
        : 'has another root directory than you, and only root can restore that',
    remedy: `ask as root, or ${leave}`,
  },
  {
    consequence: 'no-restore',
    what: ({ label }, caller) =>
      label === caller.label
        ? undefined
        : `has the security label ${label ?? '(none)'}, and yours is ${caller.label ?? '(none)'}, which a process that you restore would get`,
    remedy: `ask from a process with the same label, or ${leave}`,
  },
  {
    // CRIU does not look at the result of its setrlimit(2) (restore_rlims in pie/restorer.c).
    consequence: 'changed',
    what: ({ hardLimits }, caller) => {
      const above = [...hardLimits].filter(([name, hard]) => hard > (caller.hardLimits.get(name) ?? hard));
      return above.length === 0
        ? undefined
        : `has hard limits above yours, and gets yours when you restore it: ${above.map(([name, hard]) => `${limitName(name)} ${amount(hard)} (yours: ${amount(caller.hardLimits.get(name)!)})`).join(', ')}`;
    },
    remedy: 'restore it from a login with the same limits',
  },
];

/** @returns the first obstacle with one of these consequences, in the order of the table. */
export function obstacleOfThread(
  thread: TreeThread,
  measure: Measure,
  consequences: ReadonlySet<Consequence>,
): Obstacle | undefined {
  // Called for each of very many threads, so it makes no list.
  for (const { consequence, what, remedy } of threadRows) {
    const found = consequences.has(consequence) ? what(thread, measure) : undefined;
    if (found !== undefined) return { pid: thread.pid, consequence, what: found, remedy };
  }
  return undefined;
}

/** @returns the obstacles that the surroundings of a process are, compared with its caller's. */
export function obstaclesAround(process: Surroundings, caller: Surroundings): Obstacle[] {
  return processRows.flatMap(({ consequence, what, remedy }) => {
    const found = what(process, caller);
    return found === undefined ? [] : [{ pid: process.pid, consequence, what: found, remedy }];
  });
}

/**
 * The capabilities that only CAP_SETPCAP could drop from the bounding set of the restored task. With no_new_privs the bounding
 * set matters only for capabilities that the task holds (restore_creds in CRIU's pie/restorer.c).
 */
function beyondRestore({ bounding, permitted, noNewPrivs }: TreeThread, all: bigint): bigint {
  const absent = all & ~bounding;
  return noNewPrivs ? absent & permitted : absent;
}

function otherNamespaces(process: Surroundings, caller: Surroundings): string[] {
  return Object.keys(process.namespaces).filter(
    (name) => process.namespaces[name] !== caller.namespaces[name],
  );
}

function groupsThatDiffer(
  { more, fewer }: GroupsDifference,
  groupName: (gid: number) => string | undefined,
): string {
  const list = (gids: readonly number[]): string =>
    gids.map((gid) => (groupName(gid) === undefined ? gid : `${groupName(gid)} (${gid})`)).join(', ');
  const parts = [
    ...(more.length > 0 ? [`has the supplementary groups ${list(more)}, which you lack`] : []),
    ...(fewer.length > 0 ? [`lacks your supplementary groups ${list(fewer)}`] : []),
  ];
  const what = parts.length > 0 ? parts.join(', and ') : 'has other supplementary groups than you';
  return `${what}, so that you could not restore it`;
}

/** The names of setrlimit(2) for those that people set; the kernel's own words for the rest. */
const limitNames: ReadonlyMap<string, string> = new Map([
  ['Max open files', 'RLIMIT_NOFILE'],
  ['Max processes', 'RLIMIT_NPROC'],
  ['Max stack size', 'RLIMIT_STACK'],
  ['Max locked memory', 'RLIMIT_MEMLOCK'],
  ['Max address space', 'RLIMIT_AS'],
  ['Max data size', 'RLIMIT_DATA'],
  ['Max core file size', 'RLIMIT_CORE'],
  ['Max cpu time', 'RLIMIT_CPU'],
  ['Max file size', 'RLIMIT_FSIZE'],
]);

function limitName(name: string): string {
  return limitNames.get(name) ?? name;
}

function amount(limit: number): string {
  return Number.isFinite(limit) ? String(limit) : 'unlimited';
}
