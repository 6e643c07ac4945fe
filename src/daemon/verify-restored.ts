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
import { type Reading, readInTurns } from '../policy/turns.ts';
import { endTracedElsewhere } from './sweep.ts';

/** How long all tasks may take to freeze. */
const freezeDeadlineMs = 10_000;

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
    // First, while the engine that holds it cannot let it go.
    const escaped = await endTracedElsewhere(engine, members);
    const reason =
      escaped ?? judgeRestored(await readInTurns(readMembers(members, engine)), engine, restorer);
    if (reason === undefined) cgroup.thaw();
    return reason;
  } catch (error) {
    return `cannot be verified: ${(error as Error).message}`;
  }
}

/** Nothing in a frozen cgroup forks or changes; a member that was killed meanwhile is an error here, and the tree is not let go. */
function* readMembers(members: readonly number[], engine: number): Reading<RestoredThread[]> {
  const threads: RestoredThread[] = [];
  for (const pid of members) {
    const label = readLabel(`/proc/${pid}`);
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const path = `/proc/${pid}/task/${tid}`;
      const tracing = parseTracing(readFileSync(`${path}/status`, 'latin1'));
      // What is neither held nor ended is refused, and is not asked for what only exec could hold up (caller-reader.ts).
      const still = tracing.state === 't' || pid === engine;
      threads.push({
        ...readThread(path, still ? 'user' : 'zombie'),
        ...tracing,
        pid,
        label,
      });
      yield;
    }
  }
  return threads;
}
