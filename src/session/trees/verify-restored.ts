/**
 * The moment before a restored tree runs: every task stands in a tracing stop with its final credentials. Its cgroup is
 * frozen, because its owner may kill the engine at any time, and the tasks would simply run on; then each thread of each
 * member is read and judged, and so is what they hold.
 *
 * What may run stays frozen until the engine, which has a capability that its caller lacks, has gone: the engine is moved apart for
 * that, lets go of the tree, and leaves.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { judgeReleased, judgeRestored, type RestoredThread, type Restorer } from '../../policy/restored.ts';
import { readLabel, readThread } from '../../proc/caller.ts';
import { parseTracing } from '../../proc/status.ts';
import { type Reading, readInTurns } from '../../proc/turns.ts';
import { endTracedElsewhere } from './sweep.ts';
import { whyHeld } from './why-held.ts';

/** How long all tasks may take to freeze. */
const freezeDeadlineMs = 10_000;

/**
 * Freezes and verifies. What may run stays frozen, and its engine alone is thawed; what may not stays frozen with its engine, to
 * be killed.
 * @param apart where the engine goes; where it is already, if an earlier start of this service was killed in this moment.
 * @param engine its pid.
 * @returns why the tree must not run; undefined when it may.
 */
export async function verifyRestored(
  cgroup: EngineCgroup,
  apart: EngineCgroup,
  engine: number,
  restorer: Restorer,
): Promise<string | undefined> {
  try {
    await Promise.all([cgroup.freeze(freezeDeadlineMs), apart.freeze(freezeDeadlineMs)]);
    const members = [...cgroup.members(), ...apart.members()];
    const held = whyHeld(members, engine, restorer);
    // Heard below, where nothing else is wrong.
    held.catch(() => {});
    // First, while the engine that holds it cannot let it go.
    const escaped = await endTracedElsewhere(engine, members);
    const reason =
      escaped ??
      judgeRestored(await readInTurns(readMembers(members, engine)), engine, restorer) ??
      (await held);
    if (reason !== undefined) return reason;
    await apart.take(engine);
    apart.thaw();
    return undefined;
  } catch (error) {
    return `cannot be verified: ${(error as Error).message}`;
  }
}

/**
 * Looks once more at a tree that was verified, and whose engine has gone; then thaws it.
 * @returns why it must not run; undefined when it does.
 */
export async function letRestoredRun(cgroup: EngineCgroup, restorer: Restorer): Promise<string | undefined> {
  try {
    // It is frozen already: only the kernel's word for that is waited for.
    await cgroup.freeze(freezeDeadlineMs);
    const threads = await readInTurns(readMembers(cgroup.members(), 0));
    const reason = judgeReleased(threads, restorer);
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
