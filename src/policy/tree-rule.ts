/**
 * The rule of the specification: the whole tree must be the caller's. Pure. The kernel enforces the rule while the tree is being
 * frozen. This check comes first, for a refusal that names the process, and for cases that the kernel accepts.
 */
import { constants as os } from 'node:os';
import type { TreeThread } from '../proc/process-tree.ts';
import { maxTreeThreads } from '../proc/tree-limit.ts';
import { type Consequence, type Measure, type Obstacle, obstacleOfThread } from './comes-back.ts';

const { EPERM, ESRCH } = os.errno;

/** The caller without root that requests the dump. */
export interface TreeOwner {
  readonly uid: number;
  readonly gid: number;
  readonly permitted: bigint;
}

export interface TreeFacts extends Measure {
  /** The processes in the cgroups of our engines. */
  readonly engines: ReadonlySet<number>;
  /** The processes end with their dump. */
  readonly ends: boolean;
  /** /proc hides other users' processes from the caller. */
  readonly hidden: boolean;
  /** The obstacles that the surroundings of the tree's processes are. */
  readonly around: readonly Obstacle[];
}

export interface TreeRefusal {
  readonly errno: number;
  readonly reason: string;
}

/** @returns the obstacle to a dump, as a sentence about the tree of `target`. */
export function refusedTree(
  target: number,
  tree: readonly TreeThread[],
  owner: TreeOwner,
  facts: TreeFacts,
): TreeRefusal | undefined {
  if (
    facts.hidden &&
    (tree.length === 0 || tree.some((thread) => foreignUid(thread, owner.uid) !== undefined))
  ) {
    // The sentence and the errno are the same for a foreign process and for a missing process.
    return { errno: EPERM, reason: `process ${target} is not there, or its tree is not all yours` };
  }
  if (tree.length === 0) return { errno: ESRCH, reason: `there is no process ${target}` };
  // Foreign processes are reported first, whatever other obstacles there are.
  for (const thread of tree) {
    const reason = notTheirs(thread, owner, facts);
    if (reason !== undefined) return { errno: EPERM, reason: `process ${thread.pid} of the tree ${reason}` };
  }
  const obstacle = firstObstacle(tree, facts, facts.ends ? endsForEver : notDumped);
  if (obstacle !== undefined) {
    return { errno: EPERM, reason: `${sentence(obstacle)}: ${obstacle.remedy}` };
  }
  return tree.length > maxTreeThreads
    ? { errno: EPERM, reason: `the tree of process ${target} has more than ${maxTreeThreads} threads` }
    : undefined;
}

/** @returns a sentence about a tree that is dumped and will not come back as it was; for a reply and a record. */
export function warningAbout(tree: readonly TreeThread[], facts: TreeFacts): string | undefined {
  const found = [notRestored, changed]
    .map((consequences) => firstObstacle(tree, facts, consequences))
    .filter((each) => each !== undefined);
  return found.length === 0 ? undefined : found.map(sentence).join('; ');
}

const notDumped: ReadonlySet<Consequence> = new Set(['no-dump']);
const notRestored: ReadonlySet<Consequence> = new Set(['no-restore']);
const changed: ReadonlySet<Consequence> = new Set(['changed']);
const endsForEver: ReadonlySet<Consequence> = new Set([...notDumped, ...notRestored]);

function firstObstacle(
  tree: readonly TreeThread[],
  facts: TreeFacts,
  consequences: ReadonlySet<Consequence>,
): Obstacle | undefined {
  for (const thread of tree) {
    const found = obstacleOfThread(thread, facts, consequences);
    if (found !== undefined) return found;
  }
  return facts.around.find(({ consequence }) => consequences.has(consequence));
}

function sentence({ pid, what }: Obstacle): string {
  return `process ${pid} of the tree ${what}`;
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
  const mapped = thread.mapped
    ? ', in a user namespace of its own (a rootless container, unshare --user)'
    : '';
  if (uid !== undefined) return `has the uid ${uid}, and yours is ${owner.uid}${mapped}`;
  // The kernel compares uids and gids when a process traces another (__ptrace_may_access in its kernel/ptrace.c).
  const gid = foreign(thread.gids, owner.gid);
  if (gid !== undefined) {
    return `has the gid ${gid}, and yours is ${owner.gid}: the kernel lets nobody without root trace a process of another group, so ask from a process with that one (sg, newgrp), or start it without`;
  }
  // Such a process may hold capabilities that are good for nothing outside: it is refused for its namespace (comes-back.ts).
  if (!thread.mapped && (thread.permitted & ~owner.permitted) !== 0n) {
    return 'holds capabilities that you do not hold';
  }
  return facts.engines.has(thread.pid) ? 'is an engine of this service' : undefined;
}
