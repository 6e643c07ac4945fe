/**
 * Kills all processes of a kind, even if they evade the search: by forking faster than they are read, by starting and ending
 * threads, or by having themselves moved to other cgroups.
 *
 * The first search runs while the processes run. Only if it finds some, or some whose threads do not settle, their cgroups are
 * frozen, until two looks in a row find no more.
 */
import { readFileSync } from 'node:fs';
import { native } from '../../native/binding.ts';
import type { Found, Look, SeenProcess } from '../../proc/holders.ts';
import { parseStat } from '../../proc/stat.ts';

/**
 * The limit of looks if processes are born during each of them. A process that forks endlessly escapes at most half of the looks,
 * because each look begins at another place.
 */
const mostLooks = 16;

/** The limit of looks while the cgroups are frozen. */
const mostRounds = 20;
const agreeingLooks = 2;

/** The limit of a freeze, which also stops bystanders in the same cgroups. */
const longestFreezeMs = 2000;

const tooMany = 'There are more processes of the kind than can be looked at';

/** The time between looks, for killed processes to disappear. */
const pauseMs = 2;

export interface Hunt {
  look(): Promise<Look>;
  /** Selects the processes to kill. */
  choose(found: readonly Found[]): Promise<readonly Found[]>;
  /** Freezes the cgroup of a process, and the cgroups that its user could move it to. */
  readonly freezer: Standstill;
  /** Sends SIGKILL. @returns false if the process has ended already. @throws Error if it cannot be killed. */
  end(process: Found): boolean;
}

export interface Standstill {
  freezeAround(cgroup: string, uid: number): Promise<boolean>;
  thaw(): void;
}

export interface Bag {
  readonly ended: readonly Found[];
  /** Processes that could not be read or killed. */
  readonly unknown: readonly SeenProcess[];
}

interface Sight {
  readonly chosen: readonly Found[];
  readonly unknown: readonly SeenProcess[];
  /** The look was complete: no process can have escaped it. */
  readonly certain: boolean;
  /** The list is incomplete: there are too many processes. */
  readonly cut: boolean;
}

/** Thaws everything before it returns or throws. @throws Error if /proc cannot be read, or the list stays incomplete. */
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
  // The unsettled processes of the last look that had some.
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
    // A killed process that is still listed no longer runs.
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
    // Each further look that finds the process tries again.
    return false;
  }
}

async function see(hunt: Hunt): Promise<Sight> {
  const { found, unknown, quiet, cut } = await hunt.look();
  const chosen = await hunt.choose(found);
  // If no process was born during the look, an unsettled process that ended has left no child.
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

/** Each cgroup once, with the user of a process in it. */
function cgroupsOf(processes: readonly SeenProcess[]): Map<string, number> {
  return new Map(processes.filter(({ cgroup }) => cgroup !== '').map(({ cgroup, uid }) => [cgroup, uid]));
}

function nameOf({ pid, start }: Found): string {
  return `${pid} ${start}`;
}

/**
 * Sends SIGKILL. The start time is compared after the pidfd is open, so that a reused pid is spared (TOCTOU).
 * @returns false if the process has ended already.
 * @throws NativeError if it cannot be killed.
 */
export function kill({ pid, start }: Found): boolean {
  try {
    const pidfd = native.pidfdOpen(pid);
    try {
      const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
      return Number(stat?.start) === start && native.kill(pidfd);
    } finally {
      pidfd.close();
    }
  } catch (error) {
    if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return false;
  }
}
