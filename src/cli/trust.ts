/** Whether root may restore from a directory: whoever can write images decides what root's CRIU does with them. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Group and others. */
const othersMayWrite = 0o022;

/**
 * @returns a sentence about the first thing that others can write: the directory, an image, or one of those before it, which the
 * link `parent` names. Undefined where there is none.
 */
export function whoElseWrites(directory: string): string | undefined {
  const seen = new Set<string>();
  for (let current: string | undefined = directory; current !== undefined; ) {
    const at: string = current;
    const { ino, dev } = statSync(at);
    if (seen.has(`${dev}:${ino}`)) return undefined;
    seen.add(`${dev}:${ino}`);
    current = undefined;
    for (const path of [at, ...readdirSync(at).map((name) => join(at, name))]) {
      const stat = statSync(path, { throwIfNoEntry: false });
      if (!stat) continue;
      if (stat.uid !== 0) return `${path} belongs to uid ${stat.uid}`;
      if ((stat.mode & othersMayWrite) !== 0)
        return `${path} can be written by others (mode ${(stat.mode & 0o777).toString(8)})`;
      if (path === join(at, 'parent')) current = path;
    }
  }
  return undefined;
}
