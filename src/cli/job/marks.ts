/**
 * marks.json of a checkpoint: the processes of the job in which changes of memory are tracked since, and their mark. Without it, as for a
 * process that has no room for a mark, the next checkpoint has all of the memory.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTimeOf } from '../../proc/stat.ts';
import { hasMark, placeMark } from '../../proc/tracking-mark.ts';
import { list } from '../gone.ts';
import { membersOf } from './members.ts';

const name = 'marks.json';

interface Marks {
  readonly format: 1;
  /** In base64. */
  readonly mark: string;
  /** Each with its start time, field 22 of proc_pid_stat(5): a child inherits the mark, and perhaps later the pid. */
  readonly processes: readonly (readonly [pid: number, startTime: string])[];
}

/** While the tree is frozen. */
export function leaveMarks(root: number, directory: string): void {
  const mark = randomBytes(16);
  const pids = membersOf(root).filter((pid) => !isZombie(pid));
  try {
    for (const pid of pids) placeMark(pid, mark);
    const processes = pids.map((pid) => [pid, startTimeOf(pid)!] as const);
    const marks: Marks = { format: 1, mark: mark.toString('base64'), processes };
    writeFileSync(join(directory, name), `${JSON.stringify(marks)}\n`, { mode: 0o600 });
  } catch {}
}

/** It has no memory any more. Its other threads, if there are any, have. */
function isZombie(pid: number): boolean {
  return startTimeOf(pid) === undefined && list(`/proc/${pid}/task`).length <= 1;
}

/** A process that came later is in no earlier checkpoint, and so in the next one as a whole. */
export function areMarksLeft(root: number, directory: string): boolean {
  try {
    const { format, mark, processes } = JSON.parse(readFileSync(join(directory, name), 'utf8')) as Marks;
    const members = new Set(membersOf(root));
    const bytes = Buffer.from(mark, 'base64');
    return (
      format === 1 &&
      processes
        .filter(([pid]) => members.has(pid))
        .every(([pid, startTime]) => startTimeOf(pid) === startTime && hasMark(pid, bytes))
    );
  } catch {
    return false;
  }
}
