/**
 * Looks again at a tree that would not come back: a look reads one process after the other, while the tree runs. A process that is
 * between its fork(2) and its execve(2), or that was started after its parent was read, seems to hold the other end of a pipe outside of the
 * tree, for a moment.
 */
import type { Conclusion, Finding } from './conclusion.ts';
import type { Thing } from './things.ts';

/** An obstacle counts if so many looks in a row have found it. */
const agreeing = 3;

/** After an obstacle, so many looks in a row have to find the tree without any. */
const clear = 2;

/** The last look counts, whatever it has found. */
const most = 8;

/** @param once undefined if there is no such process. @param pause waits a little. */
export async function steady<Seen extends Conclusion>(
  once: () => Promise<Seen | undefined>,
  pause: () => Promise<void>,
): Promise<Seen | undefined> {
  let rows: ReadonlyMap<string, number> = new Map();
  let without = 0;
  for (let looks = 1; ; looks += 1) {
    const seen = await once();
    const obstacles = seen?.findings.filter(({ verdict }) => verdict.verdict === 'does-not-come-back') ?? [];
    const before = rows;
    rows = new Map(obstacles.map(keyOf).map((key) => [key, (before.get(key) ?? 0) + 1]));
    without = obstacles.length === 0 ? without + 1 : 0;
    const counts = [...rows.values()].some((row) => row >= agreeing);
    const isClear = without > 0 && (without === looks || without >= clear);
    if (!seen || isClear || counts || looks === most) return seen;
    await pause();
  }
}

/** The obstacle itself, without the processes that hold its other end and come and go. */
function keyOf({ pid, thing }: Finding): string {
  return `${pid} ${JSON.stringify(thing, (name: keyof Thing | string, value) => (name === 'holders' ? undefined : value))}`;
}
