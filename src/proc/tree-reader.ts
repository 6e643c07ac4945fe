/** Reads process trees one at a time for each user: however many requests a user has, a single thread reads that user's trees. */
import { readTree } from './process-tree.ts';

export class TreeReader {
  readonly #lanes = new Map<number, Promise<unknown>>();
  readonly #read: typeof readTree;

  /** @param read reads a tree; tests replace it. */
  constructor(read = readTree) {
    this.#read = read;
  }

  /** Calls {@link readTree} after the earlier readings for the same uid are done. */
  async read(uid: number, ...what: Parameters<typeof readTree>): ReturnType<typeof readTree> {
    const before = this.#lanes.get(uid);
    const reading = (before ?? Promise.resolve()).catch(() => {}).then(() => this.#read(...what));
    this.#lanes.set(uid, reading);
    try {
      return await reading;
    } finally {
      if (this.#lanes.get(uid) === reading) this.#lanes.delete(uid);
    }
  }
}
