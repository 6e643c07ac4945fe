/** The last bytes of a stream. */
export class Tail {
  readonly #most: number;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(most: number, start: Uint8Array = new Uint8Array()) {
    this.#most = most;
    this.push(start);
  }

  push(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    // Twice the size, so that few bytes are copied often.
    if (this.#length > 2 * this.#most || this.#parts.length > mostParts) this.#join();
  }

  bytes(): Uint8Array {
    this.#join();
    return this.#parts[0] ?? new Uint8Array();
  }

  #join(): void {
    const all = Buffer.concat(this.#parts);
    // A copy, which does not keep the whole.
    this.#parts = [Uint8Array.from(all.subarray(Math.max(0, all.length - this.#most)))];
    this.#length = this.#parts[0]!.length;
  }
}

const mostParts = 256;
