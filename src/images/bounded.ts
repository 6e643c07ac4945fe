/** Collections of what an image says, which may be anything: beyond a limit, things are counted only. */

/** @internal */
export function first<T>(values: Iterable<T>, most: number): T[] {
  const taken: T[] = [];
  for (const value of values) {
    if (taken.length >= most) break;
    taken.push(value);
  }
  // Lists grow by leaps, and those of small things would keep more room than they use.
  return taken.slice();
}

export interface Listed<T> {
  readonly items: readonly T[];
  /** The number of those that are not in the list. */
  readonly more: number;
}

/**
 * Collects at most so many items.
 * @internal
 */
export class List<T> implements Listed<T> {
  readonly items: T[] = [];
  more = 0;
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  add(item: T): void {
    if (this.items.length < this.#most) this.items.push(item);
    else this.more += 1;
  }
}
