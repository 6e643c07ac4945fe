/**
 * Verification of a restored tree at pre-resume: every task stands in a tracing stop with its final credentials. The cgroup is
 * frozen first, because the owner may kill the engine at any time, and then the tasks would run. Then every thread of every
 * member is read and judged, and so are the descriptors and mappings that they hold.
 *
 * A verified tree stays frozen until the engine has gone, because the engine has a capability that its caller lacks. For that the
 * engine is moved to a cgroup of its own, where it detaches from the tree and exits.
 */
import { readdirSync, readFileSync } from 'node:fs';
import type { Engine } from '../../engine/engine.ts';
import type { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { judgeReleased, judgeRestored, type RestoredThread, type Restorer } from '../../policy/restored.ts';
import { readLabel, readThread } from '../../proc/caller.ts';
import { parseTracing } from '../../proc/status.ts';
import { type Reading, readInTurns } from '../../proc/turns.ts';
import { endTracedElsewhere } from './sweep.ts';
import { whyHeld } from './why-held.ts';

/** The time for all tasks to freeze. */
const freezeDeadlineMs = 30_000;

/**
 * Freezes and verifies the tree. If the tree may run, it stays frozen and the engine alone is thawed. Otherwise both stay frozen,
 * to be killed.
 * @param apart the cgroup that the engine moves to. The engine is there already if an earlier start was killed after the move.
 * @returns the reason why the tree must not run; undefined if it may run.
 */
export async function verifyRestored(
  cgroup: EngineCgroup,
  apart: EngineCgroup,
  engine: Pick<Engine, 'withPid'>,
  restorer: Restorer,
): Promise<string | undefined> {
  try {
    return await engine.withPid((pid, isThere) => verify(cgroup, apart, pid, isThere, restorer));
  } catch (error) {
    return `cannot be verified: ${(error as Error).message}`;
  }
}

async function verify(
  cgroup: EngineCgroup,
  apart: EngineCgroup,
  engine: number,
  isThere: () => boolean,
  restorer: Restorer,
): Promise<string | undefined> {
  await Promise.all([cgroup.freeze(freezeDeadlineMs), apart.freeze(freezeDeadlineMs)]);
  const members = [...cgroup.members(), ...apart.members()];
  const held = whyHeld(members, engine, restorer);
  // A rejection is handled below, when this is awaited; until then it must not count as unhandled.
  held.catch(() => {});
  // Do this first, while the frozen engine cannot detach from a task outside.
  const escaped = await endTracedElsewhere(engine, members);
  const reason =
    escaped ??
    judgeRestored(await readInTurns(readMembers(members, engine)), engine, restorer) ??
    (await held);
  if (reason !== undefined) return reason;
  // The pid of an engine of an earlier start may name another process by now.
  if (!isThere()) return 'has lost its engine';
  await apart.take(engine);
  if (!isThere()) return 'has lost its engine';
  apart.thaw();
  return undefined;
}

/**
 * Verifies a tree again whose engine has gone, then thaws it.
 * @returns the reason why the tree must not run; undefined if it runs.
 */
export async function letRestoredRun(cgroup: EngineCgroup, restorer: Restorer): Promise<string | undefined> {
  try {
    // The cgroup is frozen already; this waits for the kernel to confirm that.
    await cgroup.freeze(freezeDeadlineMs);
    const threads = await readInTurns(readMembers(cgroup.members(), 0));
    const reason = judgeReleased(threads, restorer);
    if (reason === undefined) cgroup.thaw();
    return reason;
  } catch (error) {
    return `cannot be verified: ${(error as Error).message}`;
  }
}

/**
 * Processes in a frozen cgroup neither fork nor change. A member that was killed meanwhile is an error, and the tree does not
 * run.
 */
function* readMembers(members: readonly number[], engine: number): Reading<RestoredThread[]> {
  const threads: RestoredThread[] = [];
  for (const pid of members) {
    const label = readLabel(`/proc/${pid}`);
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const path = `/proc/${pid}/task/${tid}`;
      const tracing = parseTracing(readFileSync(`${path}/status`, 'latin1'));
      // A thread that runs will be refused anyway. Do not read its ns links: execve(2) could block the reader (caller-reader.ts).
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
