/** Reads the trees of users one at a time for each of them: however many requests a user has, one thread looks at that user's trees. */
import { readTree } from './process-tree.ts';

export class TreeReader {
  readonly #lanes = new Map<number, Promise<unknown>>();
  readonly #read: typeof readTree;

  /** @param read reads one tree. */
  constructor(read = readTree) {
    this.#read = read;
  }

  /** {@link readTree}, when those for the same uid before it are done. */
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
