/** Who descends from whom, as /proc tells it. */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { native, type OwnedFd, type ProcAnswer, type TasksQuestion } from '../socket/binding.ts';
import { type Reading, readInTurns } from './turns.ts';

const { ENOENT, ESRCH } = os.errno;

/** Deeper chains do not occur on a healthy system; the bound keeps a reading that races with reparenting from going on. */
const maxDepth = 100_000;

/**
 * The process itself and its ancestors, up to pid 1 of our pid namespace.
 * A parent that ends meanwhile ends the chain early: its children then belong to a subreaper or to pid 1.
 */
export function lineage(
  pid: number,
  readParent: (pid: number) => number | undefined = native.parentOf,
): number[] {
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

/** One thread of a tree, as far as who may dump it is concerned. */
export interface TreeThread {
  readonly pid: number;
  readonly tid: number;
  /** Real, effective, saved and file system uid. */
  readonly uids: readonly number[];
  readonly permitted: bigint;
  readonly bounding: bigint;
  readonly noNewPrivs: boolean;
}

/** More threads than a machine runs for one user. Whoever forks faster than they are read would never be done with. */
export const maxTreeThreads = 100_000;

/** How many processes are read at once, on a thread of their own. */
const batch = 64;

/**
 * Reads every thread of every process below `root`, itself included. What ends meanwhile is left out; what is born
 * meanwhile may be: this is for a clear refusal before an engine starts, and the kernel checks again while the tree is frozen.
 * @param enough a thread after which there is nothing more to be found out: the reading ends with its process.
 * @param most how many are read, and some more, which tell that there are more.
 * @returns an empty list when there is no such process.
 * @throws Error when one cannot be read for another reason than that it has ended: then nobody knows whose it is.
 */
export async function readTree(
  root: number,
  enough: (thread: TreeThread) => boolean = () => false,
  most = maxTreeThreads,
): Promise<TreeThread[]> {
  const threads: TreeThread[] = [];
  const proc = native.open('/proc', constants.O_DIRECTORY);
  const pids = [root];
  let ahead: Promise<Batch> | undefined;
  const readNext = (): Promise<Batch> | undefined =>
    pids.length > 0 ? readBatch(proc, pids.splice(0, batch)) : undefined;
  try {
    for (let reading = readNext(); reading; reading = ahead ?? readNext()) {
      const { questions, answers } = await reading;
      // The thread is at the next ones while these are understood.
      ahead = readNext();
      ahead?.catch(() => {});
      for (const [at, { path }] of questions.entries()) {
        const answer = answers[at]!;
        if (typeof answer === 'number') {
          if (answer === ENOENT || answer === ESRCH) continue;
          throw new Error(`Process ${path} cannot be read (errno ${answer})`);
        }
        const process = await readInTurns(parseProcess(Number(path), answer));
        for (const thread of process.threads) threads.push(thread);
        for (const child of process.children) pids.push(child);
        if (threads.length > most || process.threads.some(enough)) return threads;
      }
    }
    return threads;
  } finally {
    // One thread at a time: whoever asks next finds none at work.
    await ahead?.catch(() => {});
    proc.close();
  }
}

interface Batch {
  readonly questions: readonly TasksQuestion[];
  readonly answers: readonly ProcAnswer[];
}

async function readBatch(proc: OwnedFd, pids: readonly number[]): Promise<Batch> {
  const questions = pids.map((pid): TasksQuestion => ({ read: 'tasks', path: String(pid) }));
  return { questions, answers: await native.readElsewhere(proc, questions) };
}

const threadLines =
  /Pid:\t(\d+)\nUid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)\nCapPrm:\t([0-9a-f]+)\nCapBnd:\t([0-9a-f]+)\nNoNewPrivs:\t([01])\nChildren:\t([\d ]*)\n/y;

/**
 * @param text as the question `tasks` is answered.
 * @throws Error when it is anything else: then nothing is known, and nothing may be assumed.
 */
export function* parseProcess(
  pid: number,
  text: string,
): Reading<{ readonly threads: TreeThread[]; readonly children: number[] }> {
  const threads: TreeThread[] = [];
  const children: number[] = [];
  for (let at = 0; at < text.length; ) {
    threadLines.lastIndex = at;
    const found = threadLines.exec(text);
    // Taken before others have their turn, who use the same expression.
    at = threadLines.lastIndex;
    if (!found) throw new Error(`/proc/${pid}/task does not say whose its threads are`);
    const [, tid, real, effective, saved, fileSystem, permitted, bounding, noNewPrivs, born] = found;
    threads.push({
      pid,
      tid: Number(tid),
      uids: [real, effective, saved, fileSystem].map(Number),
      permitted: BigInt(`0x${permitted}`),
      bounding: BigInt(`0x${bounding}`),
      noNewPrivs: noNewPrivs === '1',
    });
    for (const child of born!.split(' ')) if (child !== '') children.push(Number(child));
    yield;
  }
  return { threads, children };
}

/** The unified hierarchy's line of cgroups(7), `0::/path`; `/` where there is none. Any byte but a newline may be in a path. */
export function parseCgroup(text: string): string {
  return /(?:^|\n)0::([^\n]*)/.exec(text)?.[1] ?? '/';
}
