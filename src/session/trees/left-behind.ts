/**
 * Checks the tree of an operation that was cut off: CRIU rolls back by itself, and this tells whether it did.
 *
 * Visible from outside: whether the tasks run, and whether they are traced. Invisible without running the firewall's programs:
 * CRIU's network lock (rules in the network namespace of the tree, network_lock in CRIU's net.c).
 */

import { type ReadThread, readTree } from '../../proc/process-tree.ts';
import type { TreeState, Unfinished } from '../../records/vocabulary.ts';

/** The number of looks: a task that is just being detached is shown as held for an instant. */
const looks = 20;
const lookAgainMs = 50;

/**
 * @param root the process whose tree was to be dumped. A process that ends meanwhile does not count as held.
 * @throws Error if the tree cannot be read
 */
export async function lookAfter(root: number): Promise<TreeState> {
  for (let look = 1; ; look += 1) {
    const threads = await readTree(root);
    if (threads.length === 0) return { kind: 'gone' };
    const state = findHeld(threads);
    if (state.kind !== 'held' || look === looks) return state;
    await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
  }
}

/**
 * False if the tree is as CRIU claims that it is. A user's tree was seen when the request was judged, so that it has ended since if it
 * is gone; root's request may have failed because there was none.
 */
export function isNews({ claims, request }: Unfinished, { kind }: TreeState): boolean {
  if (claims === undefined) return true;
  return kind === 'held' || (kind === 'gone' && request.engine !== 'privileged');
}

function findHeld(threads: readonly ReadThread[]): TreeState {
  for (const { tid, state, tracer } of threads) {
    if (tracer !== 0) return { kind: 'held', thread: tid, how: `is traced by process ${tracer}` };
    if (state === 'T' || state === 't') return { kind: 'held', thread: tid, how: 'is stopped' };
  }
  return { kind: 'running' };
}
