/**
 * The moment before a restored tree runs: every task stands in a tracing stop with its final credentials. Its cgroup is
 * frozen, because its owner may kill the engine at any time, and the tasks would simply run on; then each thread of each
 * member is read and judged.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { EngineCgroup } from '../engine/engine-cgroup.ts';
import { readLabel, readThread } from '../policy/caller.ts';
import { parseTracing } from '../policy/proc-status.ts';

import { judgeRestored, type RestoredThread, type Restorer } from '../policy/restored.ts';
import { endTracedElsewhere } from './sweep.ts';

/** How long all tasks may take to freeze. */
const freezeDeadlineMs = 10_000;

/** How long the event loop may be held up at a time. */
const turnMs = 4;

/**
 * Freezes, verifies, and thaws what may run. What may not stays frozen, to be killed.
 * @param engine its pid.
 * @returns why the tree must not run; undefined when it may, and the cgroup is thawed.
 */
export async function verifyRestored(
  cgroup: EngineCgroup,
  engine: number,
  restorer: Restorer,
): Promise<string | undefined> {
  try {
    await cgroup.freeze(freezeDeadlineMs);
    const members = cgroup.members();
    const threads = await readMembers(members);
    const reason = judgeRestored(threads, engine, restorer) ?? (await endTracedElsewhere(engine, members));
    if (reason === undefined) cgroup.thaw();
    return reason;
  } catch (error) {
    return `cannot be verified: ${(error as Error).message}`;
  }
}

/** Nothing in a frozen cgroup forks or changes; a member that was killed meanwhile is an error here, and the tree is not let go. */
async function readMembers(members: readonly number[]): Promise<RestoredThread[]> {
  const threads: RestoredThread[] = [];
  let turn = performance.now();
  for (const pid of members) {
    const label = readLabel(`/proc/${pid}`);
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const path = `/proc/${pid}/task/${tid}`;
      const tracing = parseTracing(readFileSync(`${path}/status`, 'latin1'));
      threads.push({
        ...readThread(path, tracing.state === 'Z' ? 'zombie' : 'user'),
        ...tracing,
        pid,
        label,
      });
    }
    if (performance.now() - turn > turnMs) {
      await new Promise((resolve) => setImmediate(resolve));
      turn = performance.now();
    }
  }
  return threads;
}
