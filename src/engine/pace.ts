/** How often something may happen for each of many: so many at once, and so many a second from then on. Pure: the time comes in. */
export class Pace<K> {
  readonly #burst: number;
  readonly #perSecond: number;
  /** When all of the burst would be there again; absent where it is. */
  readonly #full = new Map<K, number>();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
  }

  /** @returns milliseconds until it may happen again; 0 for now. */
  waitMs(key: K, nowMs: number): number {
    const missingMs = Math.max(0, (this.#full.get(key) ?? nowMs) - nowMs);
    return Math.max(0, missingMs - (this.#burst - 1) * this.#eachMs);
  }

  /** It happens, whether or not it may. */
  take(key: K, nowMs: number): void {
    for (const [other, fullMs] of this.#full) if (fullMs <= nowMs) this.#full.delete(other);
    this.#full.set(key, Math.max(nowMs, this.#full.get(key) ?? nowMs) + this.#eachMs);
  }

  get #eachMs(): number {
    return 1000 / this.#perSecond;
  }
}
