/**
 * The surroundings of processes: namespaces, root directory, security label, hard limits. A restored process has those of its
 * restorer, because only root could give it others.
 *
 * A `ns` link cannot be read while its process is inside execve(2), so these readings belong on an expendable thread.
 */
import type { ProcAnswer, ProcQuestion } from '../native/binding.ts';
import { hasEnded, kernelNamespaces, parseLabel, parseRoot } from './caller.ts';
import { type ProcReading, required } from './reading.ts';

export interface Surroundings {
  readonly pid: number;
  /** For example `uts` -> `uts:[4026531838]`, without those of time: an engine takes over its target's. */
  readonly namespaces: Readonly<Record<string, string>>;
  /** As in ThreadState of caller.ts. */
  readonly root: string;
  readonly label: string | undefined;
  /** By name, for example `Max open files` -> 524288; Infinity without a limit. */
  readonly hardLimits: ReadonlyMap<string, number>;
}

/**
 * Reads processes, from a directory of /proc.
 * @throws Error if a process cannot be read although it has not exited. Exited processes are left out.
 */
export function* readSurroundings(pids: readonly number[]): ProcReading<Surroundings[]> {
  const names = kernelNamespaces().filter((name) => !name.startsWith('time'));
  const answers = yield pids.flatMap((pid) => questionsAbout(pid, names));
  const perProcess = answers.length / pids.length;
  return pids
    .map((pid, at) => parse(pid, names, answers.slice(at * perProcess, (at + 1) * perProcess)))
    .filter((read) => read !== undefined);
}

function questionsAbout(pid: number, names: readonly string[]): ProcQuestion[] {
  return [
    ...names.map((name): ProcQuestion => ({ read: 'link', path: `${pid}/ns/${name}` })),
    { read: 'mount', path: `${pid}/root` },
    { read: 'file', path: `${pid}/attr/current` },
    { read: 'file', path: `${pid}/limits` },
  ];
}

function parse(
  pid: number,
  names: readonly string[],
  answers: readonly ProcAnswer[],
): Surroundings | undefined {
  if (answers.some(hasEnded)) return undefined;
  const [root, label, limits] = answers.slice(names.length);
  return {
    pid,
    namespaces: Object.fromEntries(names.map((name, at) => [name, required(answers[at])])),
    root: parseRoot(required(root)),
    label: parseLabel(label),
    hardLimits: parseHardLimits(required(limits)),
  };
}

/** The table of /proc/PID/limits: name, soft limit, hard limit, unit, in columns that are two spaces or more apart. */
export function parseHardLimits(text: string): ReadonlyMap<string, number> {
  const rows = text.matchAll(/^(Max \S+(?: \S+)*) {2,}(?:unlimited|\d+) +(unlimited|\d+)/gm);
  return new Map(
    [...rows].map(([, name, hard]) => [
      name!,
      hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard),
    ]),
  );
}
