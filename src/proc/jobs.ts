/** The process groups and sessions of a tree (setpgid(2), setsid(2)). */
import { constants } from 'node:fs';
import { native } from '../native/binding.ts';
import { readTree } from './process-tree.ts';
import { parseStat } from './stat.ts';

export interface JobProcess {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** It is stopped by a signal (SIGSTOP, SIGTSTP). */
  readonly stopped: boolean;
}

/**
 * Reads a tree whose root leads a process group in the session of another process, as a shell's jobs do.
 * @returns an empty list for any other tree. Processes that have ended are left out.
 */
export async function readJob(root: number): Promise<readonly JobProcess[]> {
  const [leader] = await readJobProcesses([root]);
  if (!leader || leader.group !== root || leader.session === root) return [];
  const threads = await readTree(root);
  return readJobProcesses([...new Set(threads.map(({ pid }) => pid))]);
}

async function readJobProcesses(pids: readonly number[]): Promise<JobProcess[]> {
  const proc = native.open('/proc', constants.O_DIRECTORY);
  try {
    const answers = await native.readElsewhere(
      proc,
      pids.map((pid) => ({ read: 'file', path: `${pid}/stat` }) as const),
    );
    return answers.flatMap((answer, at) => {
      const stat = typeof answer === 'number' ? undefined : parseStat(answer);
      if (!stat) return [];
      const { parent, group, session, state } = stat;
      return [{ pid: pids[at]!, parent, group, session, stopped: state === 'T' }];
    });
  } finally {
    proc.close();
  }
}
