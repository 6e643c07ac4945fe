/** /proc/PID/stat, proc_pid_stat(5). */
import { readFileSync } from 'node:fs';

export interface Stat {
  /** Field 3: R, S, D, T, t, Z, X, I. */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Field 7: the device number of the controlling terminal; 0 without one. */
  readonly terminal: number;
  /** Field 22: clock ticks since the boot; exact, as a decimal number. */
  readonly start: string;
}

/** @returns undefined for a text that is no such file. Fields count from the last parenthesis: the name before it may contain any byte. */
export function parseStat(text: string): Stat | undefined {
  const [state = '', parent, group, session, terminal, ...more] = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ');
  const start = more[14];
  if (start === undefined || !/^\d+$/.test(start)) return undefined;
  return {
    state,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    terminal: Number(terminal),
    start,
  };
}

/** @returns undefined if there is no such process. It blocks for as long as a process of another user's wants; see reading.ts. */
export function statOf(pid: number | string): Stat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** Tells a process from a later one with its pid. @returns undefined for a process that has ended, also while its parent has not waited for it. */
export function startTimeOf(pid: number): string | undefined {
  const stat = statOf(pid);
  return stat === undefined || 'ZX'.includes(stat.state) ? undefined : stat.start;
}
