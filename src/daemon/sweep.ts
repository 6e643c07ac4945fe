/**
 * Processes that were moved out of the cgroup of their engine before anybody could verify them.
 *
 * Nobody without root can write a cgroup of ours, but systemd moves a user's processes to that user's own units when the user
 * asks for it (AttachProcessesToUnit in org.freedesktop.systemd1(5)). So cgroup.kill alone does not end all that an engine
 * left behind. What counts is CAP_CHECKPOINT_RESTORE: the engine's other rights are its caller's own.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { isEngineCgroup, isEngineScope, isOfThisStart, mayHoldCapability } from '../engine/engine-cgroup.ts';
import { bitOf } from '../policy/capabilities.ts';
import { parseThreadStatus, parseTracing } from '../policy/proc-status.ts';
import { parseCgroup } from '../policy/process-tree.ts';
import { type Reading, readInTurns } from '../policy/turns.ts';
import { native } from '../socket/binding.ts';

const CAP_CHECKPOINT_RESTORE = bitOf('CHECKPOINT_RESTORE');

/** How often the threads of one process are looked at while they come and go. */
const mostLooks = 10;

/** A process that is ended may have forked meanwhile, so the sweep is over when it finds nothing. */
const maxSweeps = 20;

/**
 * Ends, while the engine stands frozen, what it traces outside of its cgroup: such a task still stands in its tracing stop.
 * @returns why the tree must not run, when there was any.
 */
export async function endTracedElsewhere(
  engine: number,
  members: readonly number[],
): Promise<string | undefined> {
  const inside = new Set(members);
  const isTraced = (pid: number): boolean =>
    threadsOf(pid).some((status) => parseTracing(status).tracer === engine);
  const outside = await readInTurns(findProcesses((pid) => !inside.has(pid) && isTraced(pid)));
  for (const pid of outside) endIf(pid, isTraced);
  return outside.length === 0 ? undefined : 'was moved out of its scope before it was verified';
}

/**
 * Ends every process of a user that holds the engine's capability outside of an engine's cgroup.
 * @param permitted what the user holds without an engine; one who has the capability anyway is left alone.
 */
export async function endEscaped(uid: number, permitted: bigint): Promise<void> {
  if ((permitted & CAP_CHECKPOINT_RESTORE) !== 0n) return;
  const escaped = (pid: number): boolean => {
    const holds = threadsOf(pid).some((text) => {
      const status = parseThreadStatus(text);
      return (
        status.uids.includes(uid) && ((status.permitted | status.ambient) & CAP_CHECKPOINT_RESTORE) !== 0n
      );
    });
    if (!holds) return false;
    const cgroup = parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1'));
    return !isEngineCgroup(cgroup) && !isEngineScope(cgroup);
  };
  await endAll(escaped);
}

/**
 * Ends what holds an engine's capability in scopes of restores that nobody owns any more: an earlier start of this service was
 * killed, and could not say whose they are. Without its engine and that capability a tree is no more than its owner, and may be one
 * that was verified.
 * @param owned the cgroups of the sessions that go on; those of this start's own are known.
 * @returns the pids of what was ended.
 */
export async function endUnverified(owned: ReadonlySet<string>): Promise<number[]> {
  return endAll((pid) => {
    const holds = threadsOf(pid).some((text) => {
      const { uids, permitted, ambient } = parseThreadStatus(text);
      return !uids.includes(0) && ((permitted | ambient) & CAP_CHECKPOINT_RESTORE) !== 0n;
    });
    if (!holds) return false;
    const cgroup = parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1'));
    return (
      isEngineScope(cgroup, 'restore') &&
      !mayHoldCapability(cgroup) &&
      !owned.has(cgroup) &&
      !isOfThisStart(cgroup)
    );
  });
}

async function endAll(condition: (pid: number) => boolean): Promise<number[]> {
  // One that has yet to be waited for by its parent is found once more.
  const ended = new Set<number>();
  for (let sweep = 0; sweep < maxSweeps; sweep += 1) {
    const found = await readInTurns(findProcesses(condition));
    if (found.length === 0) break;
    for (const pid of found) if (endIf(pid, condition)) ended.add(pid);
  }
  return [...ended];
}

/** The pidfd makes sure that what is ended is what was looked at. */
function endIf(pid: number, condition: (pid: number) => boolean): boolean {
  try {
    const held = native.adoptProcess(native.pidfdOpen(pid), pid);
    try {
      return condition(pid) && held.signal(os.signals.SIGKILL);
    } finally {
      held.close();
    }
  } catch {
    // It has ended.
    return false;
  }
}

function* findProcesses(condition: (pid: number) => boolean): Reading<number[]> {
  const found: number[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      if (condition(pid)) found.push(pid);
    } catch {
      // It has ended.
    }
    yield;
  }
  return found;
}

/** A process that starts and ends threads all the time must not be passed over: those that are there are looked at, and several times. */
function threadsOf(pid: number): string[] {
  const seen: string[] = [];
  for (let look = 1; ; look += 1) {
    const statuses = readdirSync(`/proc/${pid}/task`).map((tid) => statusOf(`/proc/${pid}/task/${tid}`));
    for (const status of statuses) if (status !== undefined) seen.push(status);
    if (look === mostLooks || !statuses.includes(undefined)) return seen;
  }
}

/** @returns undefined for one that has ended. */
function statusOf(thread: string): string | undefined {
  try {
    return readFileSync(`${thread}/status`, 'latin1');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
