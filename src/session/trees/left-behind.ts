/**
 * What an operation that was cut off has left behind: CRIU rolls back by itself, and this looks whether it did.
 *
 * What can be seen from outside is whether the tasks run and nobody traces them. CRIU's lock of the network (rules in the network
 * namespace of the tree, network_lock in CRIU's net.c) cannot, without running the programs of the firewall there.
 */

import { type ReadThread, readTree } from '../../proc/process-tree.ts';
import type { TreeState } from '../../records/vocabulary.ts';

/** Once more a moment later: a task that is being let go is still shown as held for an instant. */
const looks = 20;
const lookAgainMs = 50;

/**
 * @param root the process whose tree was to be dumped. A process that ends meanwhile is none that is held.
 * @throws Error when the tree cannot be read
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

function findHeld(threads: readonly ReadThread[]): TreeState {
  for (const { tid, state, tracer } of threads) {
    if (tracer !== 0) return { kind: 'held', thread: tid, how: `is traced by process ${tracer}` };
    if (state === 'T' || state === 't') return { kind: 'held', thread: tid, how: 'is stopped' };
  }
  return { kind: 'running' };
}
