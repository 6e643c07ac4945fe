/** Who descends from whom, as /proc tells it. */
import { readdirSync, readFileSync } from 'node:fs';
import { parseThreadStatus } from './proc-status.ts';
import { type Reading, readInTurns } from './turns.ts';

/** Deeper chains do not occur on a healthy system; the bound keeps a reading that races with reparenting from going on. */
const maxDepth = 100_000;

/**
 * The process itself and its ancestors, up to pid 1 of our pid namespace.
 * A parent that ends meanwhile ends the chain early: its children then belong to a subreaper or to pid 1.
 */
export function lineage(pid: number, readParent: (pid: number) => number | undefined = parentOf): number[] {
  const chain: number[] = [];
  for (
    let current: number | undefined = pid;
    current && chain.length < maxDepth;
    current = readParent(current)
  ) {
    chain.push(current);
  }
  return chain;
}

/** True when the tree below `root` (itself included) contains `pid`. */
export function treeContains(root: number, pid: number): boolean {
  return lineage(pid).includes(root);
}

/** The parent's pid; 0 for pid 1 and for what was forked outside of our pid namespace; undefined for a process that has gone. */
export function parentOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  return parseParent(stat);
}

/** Field 4 of proc_pid_stat(5), counted from the last parenthesis: the command name before it may contain any byte. */
export function parseParent(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

/** One thread of a tree, as far as who may dump it is concerned. */
export interface TreeThread {
  readonly pid: number;
  readonly tid: number;
  /** Real, effective, saved and file system uid. */
  readonly uids: readonly number[];
  readonly permitted: bigint;
  readonly bounding: bigint;
  readonly noNewPrivs: boolean;
  /** The process's cgroup (v2), for example `/user.slice/x.scope`. */
  readonly cgroup: string;
}

/** More threads than a machine runs for one user. Whoever forks faster than they are read would never be done with. */
export const maxTreeThreads = 100_000;

/**
 * Reads every thread of every process below `root`, itself included. What ends meanwhile is left out; what is born
 * meanwhile may be: this is for a clear refusal before an engine starts, and the kernel checks again while the tree is frozen.
 * @param enough a thread after which there is nothing more to be found out: the reading ends with it.
 * @returns an empty list when there is no such process.
 * @param most how many are read, and one more, which tells that there are more.
 */
export function readTree(
  root: number,
  enough: (thread: TreeThread) => boolean = () => false,
  most = maxTreeThreads,
): Promise<TreeThread[]> {
  return readInTurns(readThreads(root, enough, most));
}

function* readThreads(
  root: number,
  enough: (thread: TreeThread) => boolean,
  most: number,
): Reading<TreeThread[]> {
  const threads: TreeThread[] = [];
  const waiting = [root];
  for (let pid = waiting.pop(); pid !== undefined; pid = waiting.pop()) {
    const before = threads.length;
    try {
      yield* readProcess(pid, threads, waiting);
    } catch {
      // ENOENT or ESRCH: it has ended.
    }
    if (threads.length > most || threads.slice(before).some(enough)) break;
  }
  return threads;
}

/** Adds the threads of one process, and its children to those that wait. */
function* readProcess(pid: number, threads: TreeThread[], waiting: number[]): Reading<void> {
  const cgroup = parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1'));
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    const status = parseThreadStatus(readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1'));
    const { uids, permitted, bounding, noNewPrivs } = status;
    threads.push({ pid, tid: Number(tid), uids, permitted, bounding, noNewPrivs, cgroup });
    for (const child of readFileSync(`/proc/${pid}/task/${tid}/children`, 'latin1').split(' ')) {
      if (child !== '') waiting.push(Number(child));
    }
    yield;
  }
}

/** The unified hierarchy's line of cgroups(7), `0::/path`; `/` where there is none. */
export function parseCgroup(text: string): string {
  return /^0::(.*)$/m.exec(text)?.[1] ?? '/';
}
