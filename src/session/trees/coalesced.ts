/** Work that is done for all who have asked for it meanwhile: one at a time, however many ask and however long it takes. */

export class Coalesced<Item> {
  readonly #work: (items: readonly Item[]) => Promise<void>;
  #next: { readonly items: Item[]; readonly done: Promise<void> } | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(work: (items: readonly Item[]) => Promise<void>) {
    this.#work = work;
  }

  /** @returns what becomes of the work that this is part of, which has yet to begin. */
  add(item: Item): Promise<void> {
    if (!this.#next) {
      const items: Item[] = [];
      const done = this.#running.then(() => {
        this.#next = undefined;
        return this.#work(items);
      });
      this.#next = { items, done };
      this.#running = done.catch(() => {});
    }
    this.#next.items.push(item);
    return this.#next.done;
  }
}
