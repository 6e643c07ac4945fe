/**
 * The rule of the specification: the whole tree must be the caller's. Pure. The kernel enforces it while the tree is being frozen;
 * this is for a refusal that names the process, and for what the kernel does not refuse.
 */
import { constants as os } from 'node:os';
import type { TreeThread } from '../proc/process-tree.ts';
import { maxTreeThreads } from '../proc/tree-limit.ts';
import { namesOf } from './capabilities.ts';

const { EPERM, ESRCH } = os.errno;

/** Who asks, without root. */
export interface TreeOwner {
  readonly uid: number;
  readonly gid: number;
  readonly permitted: bigint;
}

export interface TreeFacts {
  /** Every capability that this kernel has. */
  readonly allCapabilities: bigint;
  /** The processes in the cgroups of our engines. */
  readonly engines: ReadonlySet<number>;
  /** The processes end with their dump. */
  readonly ends: boolean;
  /** /proc tells the caller of nobody's processes but its own. */
  readonly hidden: boolean;
}

/** @returns what is in the way of a dump, as a sentence about the tree of `target`. */
export function refusedTree(
  target: number,
  tree: readonly TreeThread[],
  owner: TreeOwner,
  facts: TreeFacts,
): { readonly errno: number; readonly reason: string } | undefined {
  if (
    facts.hidden &&
    (tree.length === 0 || tree.some((thread) => foreignUid(thread, owner.uid) !== undefined))
  ) {
    // One sentence, and one number, whether it is somebody else's or nobody's.
    return { errno: EPERM, reason: `process ${target} is not there, or its tree is not all yours` };
  }
  if (tree.length === 0) return { errno: ESRCH, reason: `there is no process ${target}` };
  // Whose it is comes first, whatever else is in the way.
  for (const rule of [notTheirs, beyondThem]) {
    for (const thread of tree) {
      const reason = rule(thread, owner, facts);
      if (reason !== undefined)
        return { errno: EPERM, reason: `process ${thread.pid} of the tree ${reason}` };
    }
  }
  return tree.length > maxTreeThreads
    ? { errno: EPERM, reason: `the tree of process ${target} has more than ${maxTreeThreads} threads` }
    : undefined;
}

/** Real, effective and saved uid: the last is that of the file system alone, and follows the effective one. */
export function foreignUid({ uids }: TreeThread, uid: number): number | undefined {
  return foreign(uids, uid);
}

function foreign(ids: readonly number[], own: number): number | undefined {
  return ids.slice(0, 3).find((each) => each !== own);
}

function notTheirs(thread: TreeThread, owner: TreeOwner, facts: TreeFacts): string | undefined {
  const uid = foreignUid(thread, owner.uid);
  if (uid !== undefined) return `has the uid ${uid}, and yours is ${owner.uid}`;
  // The kernel asks for both where one traces the other (__ptrace_may_access in its kernel/ptrace.c).
  const gid = foreign(thread.gids, owner.gid);
  if (gid !== undefined) {
    return `has the gid ${gid}, and yours is ${owner.gid}: the kernel lets nobody without root trace a process of another group, so ask from a process with that one (sg, newgrp), or start it without`;
  }
  if ((thread.permitted & ~owner.permitted) !== 0n) return 'holds capabilities that you do not hold';
  return facts.engines.has(thread.pid) ? 'is an engine of this service' : undefined;
}

function beyondThem(thread: TreeThread, _owner: TreeOwner, facts: TreeFacts): string | undefined {
  const lost = facts.ends ? beyondRestore(thread, facts.allCapabilities) : 0n;
  return lost === 0n
    ? undefined
    : `has no ${namesOf(lost)} in its bounding set, and only root could restore that (CAP_SETPCAP): start it with no_new_privs, or use leave_running`;
}

/**
 * What of a bounding set only CAP_SETPCAP could take away from the restored task; no_new_privs makes it meaningless, but for what
 * the task holds (restore_creds in CRIU's pie/restorer.c).
 */
function beyondRestore({ bounding, permitted, noNewPrivs }: TreeThread, all: bigint): bigint {
  const absent = all & ~bounding;
  return noNewPrivs ? absent & permitted : absent;
}
