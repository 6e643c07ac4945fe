/** Looks through /proc for processes of a kind, as a native thread sees them (native/holders.cc). */
import { constants } from 'node:fs';
import { native, type ProcessesQuestion } from '../native/binding.ts';
import { parseAuditSession } from './audit-session.ts';
import { type Reading, readInTurns } from './turns.ts';

/** What was seen of a process that may matter. */
export type Seen = Thread | 'unsettled' | { readonly errno: number };

/** A thread that is of the kind that was looked for, the first one that was seen. */
export interface Thread {
  readonly tid: number;
  /** The letter of its state. */
  readonly state: string;
  readonly tracer: number;
  /** Real, effective, saved and file system id. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly ambient: bigint;
}

export interface SeenProcess {
  readonly pid: number;
  /** The effective one of its first thread. */
  readonly uid: number;
  /** Field 22 of proc_pid_stat(5); with the pid it is one process's for ever. Undefined where it could not be read. */
  readonly start: number | undefined;
  /** Its audit session; undefined without one. */
  readonly session: number | undefined;
  /** In the unified hierarchy; empty where there is none, or where it could not be read. */
  readonly cgroup: string;
  readonly seen: Seen;
}

export interface Found extends SeenProcess {
  readonly start: number;
  readonly seen: Thread;
}

export interface Look {
  readonly found: readonly Found[];
  /** Of those nobody knows whether they are of that kind. */
  readonly unknown: readonly SeenProcess[];
  /** What was not seen was not there: nothing was born meanwhile. */
  readonly quiet: boolean;
  /** There are more than are told of. */
  readonly cut: boolean;
}

/** @throws NativeError where /proc cannot be read at all. */
export async function lookFor(question: ProcessesQuestion): Promise<Look> {
  const proc = native.open('/proc', constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const { found: text, quiet, cut } = await native.lookForProcesses(proc, question);
    const processes = await readInTurns(parseProcesses(text));
    return {
      found: processes.filter(isFound),
      unknown: processes.filter((process) => !isFound(process)),
      quiet,
      cut,
    };
  } finally {
    proc.close();
  }
}

function isFound(process: SeenProcess): process is Found {
  return typeof process.seen === 'object' && 'tid' in process.seen && process.start !== undefined;
}

/** @throws Error for what is no answer: then nothing is known. */
export function* parseProcesses(text: string): Reading<SeenProcess[]> {
  const processes: SeenProcess[] = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\n', at);
    processes.push(parseProcess(text.slice(at, end === -1 ? text.length : end)));
    at = end === -1 ? text.length : end + 1;
    yield;
  }
  return processes;
}

function parseProcess(line: string): SeenProcess {
  const tab = line.indexOf('\t');
  const [pid, uid, start, session, how, ...facts] = line.slice(0, tab).split(' ');
  if (tab === -1 || !/^\d+$/.test(pid!) || how === undefined) {
    throw new Error(`This is no process that was seen: ${line}`);
  }
  return {
    pid: Number(pid),
    uid: Number(uid),
    start: start === '-' ? undefined : Number(start),
    session: parseAuditSession(session === '-' ? '' : session!),
    cgroup: line.slice(tab + 1),
    seen: parseSeen(how, facts),
  };
}

function parseSeen(how: string, facts: readonly string[]): Seen {
  if (how === 'unsettled') return how;
  if (how !== 'found') return { errno: Number(how) };
  const [tid, state, tracer, ...rest] = facts;
  const sets = rest.slice(8).map((set) => BigInt(`0x${set}`));
  if (sets.length !== 4) throw new Error(`This is no thread that was seen: ${facts.join(' ')}`);
  return {
    tid: Number(tid),
    state: state!,
    tracer: Number(tracer),
    uids: rest.slice(0, 4).map(Number),
    gids: rest.slice(4, 8).map(Number),
    inheritable: sets[0]!,
    permitted: sets[1]!,
    effective: sets[2]!,
    ambient: sets[3]!,
  };
}
