/**
 * Ends processes of a kind, whatever they do to be passed over: fork faster than they are read, start and end threads, or have
 * themselves moved about.
 *
 * They are looked for while everything runs. Only if there are some, or some that never stand still for a look, is what they could be
 * in frozen, until two looks find nothing more.
 */
import { readFileSync } from 'node:fs';
import { native } from '../../native/binding.ts';
import type { Found, Look, SeenProcess } from '../../proc/holders.ts';
import { parseStartTime } from '../../proc/status.ts';

/**
 * How often is looked where something is born during each look. One that forks without end is not seen by half of them at most, each of
 * which begins somewhere else.
 */
const mostLooks = 16;

/** How often while they stand still. */
const mostRounds = 20;
const agreeingLooks = 2;

/** However many there are: whoever stands still with them goes on then. */
const longestFreezeMs = 2000;

const tooMany = 'There are more processes of the kind than can be looked at';

/** What is ended needs a moment to be gone. */
const pauseMs = 2;

export interface Hunt {
  look(): Promise<Look>;
  /** Which of those that were found are to be ended. */
  choose(found: readonly Found[]): Promise<readonly Found[]>;
  /** Stands still where a process of a user is, and where it could go. */
  readonly freezer: Standstill;
  /** SIGKILL. @returns false where it has ended already. @throws Error where that cannot be done. */
  end(process: Found): boolean;
}

export interface Standstill {
  freezeAround(cgroup: string, uid: number): Promise<boolean>;
  thaw(): void;
}

export interface Bag {
  readonly ended: readonly Found[];
  /** Of those nobody knows, or they could not be ended. */
  readonly unknown: readonly SeenProcess[];
}

interface Sight {
  readonly chosen: readonly Found[];
  readonly unknown: readonly SeenProcess[];
  /** Nothing can have been passed over. */
  readonly certain: boolean;
  /** There are more than were told of. */
  readonly cut: boolean;
}

/** Never leaves anything frozen. @throws Error where nothing can be read, or there are too many to be told of. */
export async function endAll(hunt: Hunt): Promise<Bag> {
  const sight = await seekRunning(hunt);
  const { chosen, unknown } = sight;
  if (chosen.length === 0 && !unknown.some(isRestless)) return { ended: [], unknown };
  try {
    return await endStanding(hunt, sight);
  } finally {
    hunt.freezer.thaw();
  }
}

async function seekRunning(hunt: Hunt): Promise<Sight> {
  // As they were seen last.
  let restless: readonly SeenProcess[] = [];
  for (let look = 1; ; look += 1) {
    const sight = await see(hunt);
    if (sight.chosen.length > 0 || sight.certain) return sight;
    if (sight.unknown.length > 0) restless = sight.unknown;
    if (look < mostLooks) continue;
    if (sight.cut) throw new Error(tooMany);
    return { ...sight, unknown: restless };
  }
}

async function endStanding(hunt: Hunt, first: Sight): Promise<Bag> {
  const begun = performance.now();
  const ended = new Map<string, Found>();
  let sight = first;
  for (let round = 0, agreed = 0; round < mostRounds && agreed < agreeingLooks; round += 1) {
    const restless = sight.unknown.filter(isRestless);
    for (const [cgroup, uid] of cgroupsOf([...sight.chosen, ...restless]))
      await hunt.freezer.freezeAround(cgroup, uid);
    sight = await see(hunt);
    // What was killed and is still there runs nothing any more.
    const fresh = sight.chosen.filter((process) => !ended.has(nameOf(process)));
    for (const process of fresh) if (ends(hunt, process)) ended.set(nameOf(process), process);
    const isDone = fresh.length === 0 && !sight.cut && !sight.unknown.some(isRestless);
    agreed = isDone ? agreed + 1 : 0;
    if (performance.now() - begun > longestFreezeMs) break;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  if (sight.cut) throw new Error(tooMany);
  const left = sight.chosen.filter((process) => !ended.has(nameOf(process)));
  return { ended: [...ended.values()], unknown: [...sight.unknown, ...left] };
}

function ends(hunt: Hunt, process: Found): boolean {
  try {
    return hunt.end(process);
  } catch {
    // It is tried again as long as it is found.
    return false;
  }
}

async function see(hunt: Hunt): Promise<Sight> {
  const { found, unknown, quiet, cut } = await hunt.look();
  const chosen = await hunt.choose(found);
  // Where nothing was born, what ended meanwhile has left nothing behind.
  return {
    chosen,
    unknown: quiet ? unknown.filter((process) => !isRestless(process)) : unknown,
    certain: quiet && !cut,
    cut,
  };
}

function isRestless({ seen }: SeenProcess): boolean {
  return seen === 'unsettled';
}

/** Each with a user whose process is in it, once. */
function cgroupsOf(processes: readonly SeenProcess[]): Map<string, number> {
  return new Map(processes.filter(({ cgroup }) => cgroup !== '').map(({ cgroup, uid }) => [cgroup, uid]));
}

function nameOf({ pid, start }: Found): string {
  return `${pid} ${start}`;
}

/**
 * The pidfd makes sure that what is ended is what was looked at.
 * @returns false where it has ended already.
 * @throws NativeError where it cannot be ended.
 */
export function kill({ pid, start }: Found): boolean {
  try {
    const pidfd = native.pidfdOpen(pid);
    try {
      return parseStartTime(readFileSync(`/proc/${pid}/stat`, 'latin1')) === start && native.kill(pidfd);
    } finally {
      pidfd.close();
    }
  } catch (error) {
    if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return false;
  }
}
