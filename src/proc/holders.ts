/** Looks through /proc for processes of a kind, as a native thread sees them (native/holders.cc). */
import { constants } from 'node:fs';
import { native, type ProcessesQuestion } from '../native/binding.ts';
import { parseAuditSession } from './audit-session.ts';
import { type Reading, readInTurns } from './turns.ts';

/** The result of looking at a process that may matter. */
export type Seen = Thread | 'unsettled' | { readonly errno: number };

/** The first matching thread of a process. */
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
  /** The effective uid of its first thread. */
  readonly uid: number;
  /** Field 22 of proc_pid_stat(5); pid and start time identify a process for ever. Undefined if it could not be read. */
  readonly start: number | undefined;
  /** The audit session; undefined without one. */
  readonly session: number | undefined;
  /** Path in the unified hierarchy; empty without that hierarchy, or if it could not be read. */
  readonly cgroup: string;
  readonly seen: Seen;
}

export interface Found extends SeenProcess {
  readonly start: number;
  readonly seen: Thread;
}

export interface Look {
  readonly found: readonly Found[];
  /** Processes that could not be read, so that they may match or not. */
  readonly unknown: readonly SeenProcess[];
  /** Complete: no process was born during the look, so all others were absent. */
  readonly quiet: boolean;
  /** There are more processes than the result lists. */
  readonly cut: boolean;
}

/** @throws NativeError if /proc itself cannot be read. */
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

/** @throws Error if the answer is malformed. Fails closed: then nothing is known. */
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
