/** CRIU at work on a tree after its request is over. */
import { setTimeout as delay } from 'node:timers/promises';
import { read } from '../gone.ts';

const stepMs = 20;
const attempts = 3000;

/**
 * A request that was interrupted, or whose connection was lost, may leave CRIU at work for a while: the tree is about to end, or to run on.
 * @returns true once CRIU does not trace it any more, or it has ended.
 */
export async function isLetGo(
  pid: number,
  statusOf = (each: number): string => read(`/proc/${each}/status`),
  pause = (): Promise<unknown> => delay(stepMs),
): Promise<boolean> {
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const [, tracer = '0'] = /^TracerPid:\t(\d+)$/m.exec(statusOf(pid)) ?? [];
    if (tracer === '0') return true;
    await pause();
  }
  return false;
}
