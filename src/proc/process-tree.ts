/** Who descends from whom, as /proc tells it. */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { native, type OwnedFd, type ProcAnswer, type TasksQuestion } from '../native/binding.ts';
import type { Tracing } from './status.ts';
import { maxTreeThreads } from './tree-limit.ts';
import { type Reading, readInTurns } from './turns.ts';

const { ENOENT, ESRCH } = os.errno;

/** How far up is read at once: further than where most processes are. */
const nearAncestors = 32;

/**
 * The process itself and its ancestors, up to pid 1 of our pid namespace, or to `most` of them.
 * A parent that ends meanwhile ends the chain early: its children then belong to a subreaper or to pid 1.
 */
export function lineage(
  pid: number,
  readParent: (pid: number) => number | undefined = native.parentOf,
  most = nearAncestors,
): number[] {
  const chain: number[] = [];
  for (let current: number | undefined = pid; current && chain.length < most; current = readParent(current)) {
    chain.push(current);
  }
  return chain;
}

/** Whether the tree below `root` (itself included) contains `pid`. */
export type TreeContains = (root: number, pid: number) => boolean;

/**
 * For these pids. How deep a process lies is its user's to choose, so that the rest of a long chain is read on another thread.
 * @returns a promise where there is one.
 */
export function lineagesOf(pids: readonly number[]): TreeContains | Promise<TreeContains> {
  const chains = new Map(pids.map((pid) => [pid, lineage(pid)]));
  const contains: TreeContains = (root, pid) => chains.get(pid)?.includes(root) ?? false;
  const long = pids.filter((pid) => chains.get(pid)!.length === nearAncestors);
  if (long.length === 0) return contains;
  return readLineages(long).then((read) => {
    read.forEach((chain, at) => {
      chains.set(long[at]!, chain);
    });
    return contains;
  });
}

async function readLineages(pids: readonly number[]): Promise<number[][]> {
  const proc = native.open('/proc', constants.O_DIRECTORY);
  try {
    const questions = pids.map((pid) => ({ read: 'lineage', path: String(pid) }) as const);
    const answers = await native.readElsewhere(proc, questions);
    return answers.map((answer) => String(answer).trimEnd().split(' ').map(Number));
  } finally {
    proc.close();
  }
}

/** One thread of a tree, as far as who may dump it is concerned. */
export interface TreeThread {
  readonly pid: number;
  readonly tid: number;
  /** Real, effective, saved and file system uid. */
  readonly uids: readonly number[];
  /** The same of its gids; supplementary groups are not among them. */
  readonly gids: readonly number[];
  readonly permitted: bigint;
  readonly bounding: bigint;
  readonly noNewPrivs: boolean;
}

/** The same, and whether it runs. */
export interface ReadThread extends TreeThread, Tracing {}

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
): Promise<ReadThread[]> {
  const threads: ReadThread[] = [];
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
  /State:\t(\S)[^\n]*\nPid:\t(\d+)\nTracerPid:\t(\d+)\nUid:\t([\d\t]+)\nGid:\t([\d\t]+)\nCapPrm:\t([0-9a-f]+)\nCapBnd:\t([0-9a-f]+)\nNoNewPrivs:\t([01])\nChildren:\t([\d ]*)\n/y;

/**
 * @param text as the question `tasks` is answered.
 * @throws Error when it is anything else: then nothing is known, and nothing may be assumed.
 */
export function* parseProcess(
  pid: number,
  text: string,
): Reading<{ readonly threads: ReadThread[]; readonly children: number[] }> {
  const threads: ReadThread[] = [];
  const children: number[] = [];
  for (let at = 0; at < text.length; ) {
    threadLines.lastIndex = at;
    const found = threadLines.exec(text);
    // Taken before others have their turn, who use the same expression.
    at = threadLines.lastIndex;
    if (!found) throw new Error(`/proc/${pid}/task does not say whose its threads are`);
    const [, state, tid, tracer, uids, gids, permitted, bounding, noNewPrivs, born] = found;
    threads.push({
      pid,
      tid: Number(tid),
      state: state!,
      tracer: Number(tracer),
      uids: fourIds(pid, uids!),
      gids: fourIds(pid, gids!),
      permitted: BigInt(`0x${permitted}`),
      bounding: BigInt(`0x${bounding}`),
      noNewPrivs: noNewPrivs === '1',
    });
    for (const child of born!.split(' ')) if (child !== '') children.push(Number(child));
    yield;
  }
  return { threads, children };
}

function fourIds(pid: number, text: string): number[] {
  const ids = text.split('\t');
  if (ids.length !== 4 || ids.includes('')) {
    throw new Error(`/proc/${pid}/task does not say whose its threads are`);
  }
  return ids.map(Number);
}

/** The unified hierarchy's line of cgroups(7), `0::/path`; `/` where there is none. Any byte but a newline may be in a path. */
export function parseCgroup(text: string): string {
  return /(?:^|\n)0::([^\n]*)/.exec(text)?.[1] ?? '/';
}
