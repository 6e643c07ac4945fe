/**
 * The rule of the specification: the whole tree must be the caller's. Pure. The kernel enforces the rule while the tree is being
 * frozen. This check comes first, for a refusal that names the process, and for cases that the kernel accepts.
 */
import { constants as os } from 'node:os';
import type { TreeThread } from '../proc/process-tree.ts';
import { maxTreeThreads } from '../proc/tree-limit.ts';
import { namesOf } from './capabilities.ts';

const { EPERM, ESRCH } = os.errno;

/** The caller without root that requests the dump. */
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
  /** /proc hides other users' processes from the caller. */
  readonly hidden: boolean;
}

/** @returns the obstacle to a dump, as a sentence about the tree of `target`. */
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
    // The sentence and the errno are the same for a foreign process and for a missing process.
    return { errno: EPERM, reason: `process ${target} is not there, or its tree is not all yours` };
  }
  if (tree.length === 0) return { errno: ESRCH, reason: `there is no process ${target}` };
  // Foreign processes are reported first, whatever other obstacles there are.
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

/** Compares the real, effective and saved uid. The fourth, fsuid, follows the effective uid. */
export function foreignUid({ uids }: TreeThread, uid: number): number | undefined {
  return foreign(uids, uid);
}

function foreign(ids: readonly number[], own: number): number | undefined {
  return ids.slice(0, 3).find((each) => each !== own);
}

function notTheirs(thread: TreeThread, owner: TreeOwner, facts: TreeFacts): string | undefined {
  const uid = foreignUid(thread, owner.uid);
  if (uid !== undefined) return `has the uid ${uid}, and yours is ${owner.uid}`;
  // The kernel compares uids and gids when a process traces another (__ptrace_may_access in its kernel/ptrace.c).
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
 * The capabilities that only CAP_SETPCAP could drop from the bounding set of the restored task. With no_new_privs the bounding
 * set matters only for capabilities that the task holds (restore_creds in CRIU's pie/restorer.c).
 */
function beyondRestore({ bounding, permitted, noNewPrivs }: TreeThread, all: bigint): bigint {
  const absent = all & ~bounding;
  return noNewPrivs ? absent & permitted : absent;
}
