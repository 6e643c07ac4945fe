/** Ancestors and descendants of processes, as /proc shows them. */
import { constants, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import {
  native,
  type OwnedFd,
  type ProcAnswer,
  type ProcQuestion,
  type TasksQuestion,
} from '../native/binding.ts';
import { comparedWith, type GroupsDifference } from './groups.ts';
import type { Tracing } from './status.ts';
import { maxTreeThreads } from './tree-limit.ts';
import { type Reading, readInTurns } from './turns.ts';

const { ENOENT, ESRCH } = os.errno;

/** The number of ancestors that are read synchronously: more than most processes have. */
const nearAncestors = 32;

/**
 * The process itself and its ancestors, up to pid 1 of our pid namespace, or to `most` of them. If a parent exits during the
 * reading, the chain ends early: the children of that parent then belong to a subreaper or to pid 1.
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

/** Tells if the tree below `root` (itself included) contains `pid`. */
export type TreeContains = (root: number, pid: number) => boolean;

/**
 * Reads the ancestors of these pids. A user chooses how deep a process lies, so the rest of a long chain is read on another
 * thread.
 * @returns a promise if there is a long chain.
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

/** The facts about a thread of a tree that decide who may dump it. */
export interface TreeThread {
  readonly pid: number;
  readonly tid: number;
  /** Real, effective, saved and file system uid. */
  readonly uids: readonly number[];
  /** Real, effective, saved and file system gid, without supplementary groups. */
  readonly gids: readonly number[];
  /** Supplementary groups other than those that the reading compares with. */
  readonly otherGroups?: GroupsDifference;
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly bounding: bigint;
  readonly noNewPrivs: boolean;
  /** 0 none, 1 strict, 2 filter (prctl(2), PR_SET_SECCOMP). */
  readonly seccomp: number;
  /** The user ids of its process are mapped: it lives in another user namespace than this service. */
  readonly mapped: boolean;
}

/** A thread with the state that tells if it runs. */
export interface ReadThread extends TreeThread, Tracing {}

/** The number of processes that are read together, on a native thread. */
const batch = 64;

/**
 * Reads every thread of every process below `root`, itself included. Processes that exit during the reading are left out;
 * processes that are born during it may be missing. This is enough for a clear refusal before an engine starts, because the
 * kernel checks again while the tree is frozen.
 * @param groups the supplementary groups to compare with, ascending; without them nothing is compared.
 * @param enough tells if a thread makes further reading unnecessary: the reading ends after its process.
 * @param most the limit of threads; the result has more than that if the tree has more.
 * @returns an empty list if the process does not exist.
 * @throws Error if a process cannot be read although it has not exited: then its owner is unknown.
 */
export async function readTree(
  root: number,
  groups?: readonly number[],
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
      const { pids: read, answers } = await reading;
      // Read the next batch on the native thread while these answers are parsed.
      ahead = readNext();
      ahead?.catch(() => {});
      for (const [at, pid] of read.entries()) {
        const [answer, uidMap] = answers.slice(at * perProcess, (at + 1) * perProcess);
        const failure = [answer, uidMap].find((each) => typeof each === 'number');
        if (failure === ENOENT || failure === ESRCH) continue;
        if (failure !== undefined) throw new Error(`Process ${pid} cannot be read (errno ${failure})`);
        const process = await readInTurns(
          parseProcess(pid, String(answer), { mapped: uidMap !== readUidMap(), groups }),
        );
        for (const thread of process.threads) threads.push(thread);
        for (const child of process.children) pids.push(child);
        if (threads.length > most || process.threads.some(enough)) return threads;
      }
    }
    return threads;
  } finally {
    // Wait for the native thread: the user's next reading must find it idle.
    await ahead?.catch(() => {});
    proc.close();
  }
}

interface Batch {
  readonly pids: readonly number[];
  /** Those to `perProcess` questions about each pid. */
  readonly answers: readonly ProcAnswer[];
}

const perProcess = 2;

/** Neither of these readings waits for a process that is inside execve(2). */
async function readBatch(proc: OwnedFd, pids: readonly number[]): Promise<Batch> {
  const questions = pids.flatMap((pid): (ProcQuestion | TasksQuestion)[] => [
    { read: 'tasks', path: String(pid) },
    { read: 'file', path: `${pid}/uid_map` },
  ]);
  return { pids, answers: await native.readElsewhere(proc, questions) };
}

let ownUidMap: string | undefined;

/** The mapping of this service's user namespace. */
function readUidMap(): string {
  ownUidMap ??= readFileSync('/proc/self/uid_map', 'latin1');
  return ownUidMap;
}

const threadLines =
  /State:\t(\S)[^\n]*\nPid:\t(\d+)\nTracerPid:\t(\d+)\nUid:\t([\d\t]+)\nGid:\t([\d\t]+)\nGroups:\t([\d ]*|=|\+)\nCapInh:\t([0-9a-f]+)\nCapPrm:\t([0-9a-f]+)\nCapBnd:\t([0-9a-f]+)\nNoNewPrivs:\t([01])\n(?:Seccomp:\t(\d+)\n)?Children:\t([\d ]*)\n/y;

/**
 * @param text an answer to the question `tasks`.
 * @param about whether its user ids are mapped; the supplementary groups to compare with, as in {@link readTree}.
 * @throws Error if the text is malformed. Fails closed: then nothing is known about the process.
 */
export function* parseProcess(
  pid: number,
  text: string,
  about: { readonly mapped: boolean; readonly groups?: readonly number[] | undefined },
): Reading<{ readonly threads: ReadThread[]; readonly children: number[] }> {
  const threads: ReadThread[] = [];
  const children: number[] = [];
  const compare = about.groups && comparedWith(about.groups);
  for (let at = 0; at < text.length; ) {
    threadLines.lastIndex = at;
    const found = threadLines.exec(text);
    // Save the position before yielding, because other readings use the same expression.
    at = threadLines.lastIndex;
    if (!found) throw new Error(`/proc/${pid}/task does not say whose its threads are`);
    const [
      ,
      state,
      tid,
      tracer,
      uids,
      gids,
      list,
      inheritable,
      permitted,
      bounding,
      noNewPrivs,
      seccomp,
      born,
    ] = found;
    const otherGroups = compare?.(list!);
    threads.push({
      pid,
      tid: Number(tid),
      state: state!,
      tracer: Number(tracer),
      uids: fourIds(pid, uids!),
      gids: fourIds(pid, gids!),
      ...(otherGroups === undefined ? {} : { otherGroups }),
      inheritable: BigInt(`0x${inheritable}`),
      permitted: BigInt(`0x${permitted}`),
      bounding: BigInt(`0x${bounding}`),
      noNewPrivs: noNewPrivs === '1',
      // A kernel without CONFIG_SECCOMP has no such line, and no filters.
      seccomp: Number(seccomp ?? '0'),
      mapped: about.mapped,
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

/** The unified hierarchy's line of cgroups(7), `0::/path`; `/` where there is none. A path may contain any byte but a newline. */
export function parseCgroup(text: string): string {
  return /(?:^|\n)0::([^\n]*)/.exec(text)?.[1] ?? '/';
}
