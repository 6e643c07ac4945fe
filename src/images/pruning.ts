/** Which checkpoints of a series are kept? Pure. */

/** A checkpoint in a numbered directory. */
export interface Checkpoint {
  readonly number: number;
  /** Whole: a dump of which nothing is missing. Foreign: it has a file that is not of a dump. */
  readonly is: 'whole' | 'pre-dump' | 'incomplete' | 'foreign';
  /** Numbers of the checkpoints that its chain of parents leads through. */
  readonly parents: readonly number[];
}

export type Fate =
  | { readonly kept: true; readonly why: 'new' | 'foreign' }
  /** The newest checkpoints, newer than any whole dump, may be at work. */
  | { readonly kept: true; readonly why: 'unfinished' }
  | { readonly kept: true; readonly why: 'parent'; readonly of: number }
  | { readonly kept: false; readonly why: 'old' | 'incomplete' | 'pre-dump' };

/**
 * Keeps the newest whole dumps, and each checkpoint that a kept one leads to by its parents. So the last whole dump is always kept.
 * @param keep the number of whole dumps, at least 1.
 * @internal
 */
export function fatesOf(checkpoints: readonly Checkpoint[], keep: number): ReadonlyMap<number, Fate> {
  const newestFirst = checkpoints.toSorted((a, b) => b.number - a.number);
  const whole = newestFirst.filter(({ is }) => is === 'whole');
  const lastWhole = whole[0]?.number ?? Number.NEGATIVE_INFINITY;
  const newest = new Set(whole.slice(0, Math.max(1, keep)).map(({ number }) => number));
  const fates = new Map<number, Fate>();
  for (const { number, is } of newestFirst) {
    if (is === 'foreign') fates.set(number, { kept: true, why: 'foreign' });
    else if (newest.has(number)) fates.set(number, { kept: true, why: 'new' });
    else if (number > lastWhole) fates.set(number, { kept: true, why: 'unfinished' });
    else fates.set(number, { kept: false, why: is === 'whole' ? 'old' : is });
  }
  for (const { number, parents } of newestFirst) {
    if (!fates.get(number)!.kept) continue;
    for (const parent of parents)
      if (fates.get(parent)?.kept === false) fates.set(parent, { kept: true, why: 'parent', of: number });
  }
  return fates;
}
