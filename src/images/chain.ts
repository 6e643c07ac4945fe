/** The directories of the dumps before: the parent of a directory, its parent, and so on. */
import { type ImageDirectory, mostParents, parentName } from './image-directory.ts';
import type { Reading } from './reading.ts';

/**
 * Visits each directory of the chain, the nearest first, with the directory after it. Each is closed before the next but one is
 * opened, so that a chain of any length takes two descriptors. A circle ends the chain, and is a fault.
 */
export function eachParent(
  reading: Reading,
  visit: (parent: ImageDirectory, child: ImageDirectory, level: number) => void,
): void {
  const from = reading.directory;
  const seen = new Set([from.identity]);
  for (let child = from, level = 1; ; level++) {
    const parent = reading.guarded(() => child.parent());
    if (!parent) {
      if (child !== from) child.close();
      return;
    }
    const circle = seen.has(parent.identity);
    if (!circle && level <= mostParents) {
      seen.add(parent.identity);
      visit(parent, child, level);
      if (child !== from) child.close();
      child = parent;
      continue;
    }
    parent.close();
    if (child !== from) child.close();
    const why = circle ? 'leads round in a circle' : `leads over more than ${mostParents} directories`;
    reading.add({ file: parentName, offset: undefined, why, is: 'broken' });
    return;
  }
}
