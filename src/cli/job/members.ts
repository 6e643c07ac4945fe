/** The processes of a tree. */
import { list, read } from '../gone.ts';

/** @returns pids, the root first; a tree that changes meanwhile is read as it is at each step. */
export function membersOf(root: number): number[] {
  const found: number[] = [];
  const open = [root];
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    if (found.includes(pid)) continue;
    found.push(pid);
    for (const tid of list(`/proc/${pid}/task`))
      open.push(...read(`/proc/${pid}/task/${tid}/children`).split(' ').filter(Boolean).map(Number));
  }
  return found;
}
