/** Compares the credentials and surroundings of a tree with those of the looking user, as the service does before a dump. */
import { constants, readFileSync } from 'node:fs';
import { native } from '../native/binding.ts';
import {
  type Consequence,
  type Measure,
  type Obstacle,
  obstacleOfThread,
  obstaclesAround,
} from '../policy/comes-back.ts';
import { foreignUid } from '../policy/tree-rule.ts';
import { groupName } from '../proc/groups.ts';
import type { ReadThread } from '../proc/process-tree.ts';
import { answerElsewhere } from '../proc/reading.ts';
import { parseThreadStatus, type ThreadStatus } from '../proc/status.ts';
import { readSurroundings } from '../proc/surroundings.ts';
import type { Found } from './things.ts';

/** Each consequence by itself: a warning does not hide a refusal. */
const consequences: readonly Consequence[] = ['no-dump', 'no-restore', 'changed'];

export function readOwnStatus(): ThreadStatus {
  return parseThreadStatus(readFileSync('/proc/self/status', 'utf8'));
}

/** @param own the looking user's status. @returns differences that only root could give back; nothing for root. */
export async function credentialsOf(
  threads: readonly ReadThread[],
  own: ThreadStatus,
  nameOfUser: (uid: number) => string,
): Promise<Found[]> {
  const uid = own.uids[1]!;
  if (uid === 0) return [];
  const scope = ptraceScope();
  const [first] = threads;
  const found: Found[] = scope > 0 && first ? [at(first.pid, { kind: 'ptrace-scope', value: scope })] : [];
  const measure = measureOf(own);
  const seen = new Set<string>();
  for (const thread of threads) {
    const foreign = foreignUid(thread, uid);
    for (const thing of foreign === undefined
      ? credentialsOfThread(thread, measure)
      : [{ kind: 'foreign', user: nameOfUser(foreign) } as const]) {
      const key = `${thread.pid} ${thing.kind === 'credential' ? thing.obstacle.what : ''}`;
      if (!seen.has(key)) found.push(at(thread.pid, thing));
      seen.add(key);
    }
  }
  const isTheirs = threads.every((thread) => foreignUid(thread, uid) === undefined);
  return isTheirs ? [...found, ...(await surroundingsOf(threads))] : found;
}

function at(pid: number, thing: Found['thing']): Found {
  return { pid, fds: [], thing };
}

function credentialsOfThread(thread: ReadThread, measure: Measure) {
  return consequences.flatMap((consequence) => {
    const obstacle = obstacleOfThread(thread, measure, new Set([consequence]));
    return obstacle ? [{ kind: 'credential', obstacle } as const] : [];
  });
}

async function surroundingsOf(threads: readonly ReadThread[]): Promise<Found[]> {
  const pids = [...new Set(threads.map(({ pid }) => pid))];
  const proc = native.open('/proc', constants.O_DIRECTORY);
  try {
    const [caller, ...processes] = await answerElsewhere(readSurroundings([process.pid, ...pids]), proc);
    const obstacles: Obstacle[] = caller ? processes.flatMap((each) => obstaclesAround(each, caller)) : [];
    return obstacles.map((obstacle) => at(obstacle.pid, { kind: 'credential', obstacle }));
  } catch {
    return [at(pids[0]!, { kind: 'unreadable', what: 'its namespaces' })];
  } finally {
    proc.close();
  }
}

function measureOf({ inheritable }: ThreadStatus): Measure {
  const last = Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1'));
  const groups = textOf('/etc/group');
  return {
    allCapabilities: (1n << BigInt(last + 1)) - 1n,
    inheritable,
    groupName: (gid) => groupName(groups, gid),
  };
}

/** 0 without Yama: then the file does not exist. */
function ptraceScope(): number {
  return Number(textOf('/proc/sys/kernel/yama/ptrace_scope'));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
