/** Coalesces requests for the same work: while one run is in flight, further items are collected for a single next run. */

export class Coalesced<Item> {
  readonly #work: (items: readonly Item[]) => Promise<void>;
  #next: { readonly items: Item[]; readonly done: Promise<void> } | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(work: (items: readonly Item[]) => Promise<void>) {
    this.#work = work;
  }

  /** @returns the outcome of the run that includes this item; that run begins after this call. */
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
