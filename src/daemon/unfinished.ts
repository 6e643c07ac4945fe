/**
 * What an operation that was cut off has left behind: CRIU rolls back by itself, and this looks whether it did.
 *
 * What can be seen from outside is whether the tasks run and nobody traces them. CRIU's lock of the network (rules in the network
 * namespace of the tree, network_lock in CRIU's net.c) cannot, without running the programs of the firewall there.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { parseTracing } from '../policy/proc-status.ts';
import { readTree } from '../policy/process-tree.ts';
import { type Reading, readInTurns } from '../policy/turns.ts';

/**
 * - `running`: no thread is stopped or traced;
 * - `held`: some are;
 * - `gone`: there is no such process any more.
 */
export type TreeState =
  | { readonly kind: 'running' }
  | { readonly kind: 'held'; readonly thread: number; readonly how: string }
  | { readonly kind: 'gone' };

/** Once more a moment later: a task that is being let go is still shown as held for an instant. */
const looks = 20;
const lookAgainMs = 50;

/**
 * @param root the process whose tree was to be dumped. A process that ends meanwhile is none that is held.
 * @throws Error when the tree cannot be read
 */
export async function lookAfter(root: number): Promise<TreeState> {
  for (let look = 1; ; look += 1) {
    const pids = new Set((await readTree(root)).map(({ pid }) => pid));
    if (pids.size === 0) return { kind: 'gone' };
    const state = await readInTurns(findHeld(pids));
    if (state.kind !== 'held' || look === looks) return state;
    await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
  }
}

function* findHeld(pids: ReadonlySet<number>): Reading<TreeState> {
  for (const pid of pids) {
    for (const [tid, status] of threadsOf(pid)) {
      const { state, tracer } = parseTracing(status);
      if (tracer !== 0) return { kind: 'held', thread: tid, how: `is traced by process ${tracer}` };
      if (state === 'T' || state === 't') return { kind: 'held', thread: tid, how: 'is stopped' };
    }
    yield;
  }
  return { kind: 'running' };
}

function threadsOf(pid: number): [number, string][] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((tid) => [
      Number(tid),
      readFileSync(`/proc/${pid}/task/${tid}/status`, 'latin1'),
    ]);
  } catch {
    return [];
  }
}
