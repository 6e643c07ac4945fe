/** The growing end of a file, as `tail -f` shows it. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const stepMs = 100;
const chunkBytes = 1 << 16;

export class Follower {
  readonly #fd: number;
  readonly #write: (bytes: Uint8Array) => void;
  #place: number;

  /** @param place the first byte to show; the end of the file by default. @throws Error of node:fs */
  constructor(path: string, write: (bytes: Uint8Array) => void, place?: number) {
    this.#fd = openSync(path, 'r');
    this.#write = write;
    this.#place = place ?? fstatSync(this.#fd).size;
  }

  /** Shows the bytes up to the end. */
  show(): void {
    // A resume has cut it back to a checkpoint.
    this.#place = Math.min(this.#place, fstatSync(this.#fd).size);
    const buffer = Buffer.alloc(chunkBytes);
    for (;;) {
      const length = readSync(this.#fd, buffer, 0, chunkBytes, this.#place);
      if (length === 0) return;
      this.#place += length;
      this.#write(Uint8Array.from(buffer.subarray(0, length)));
    }
  }

  /** Shows each byte that comes before the signal. */
  async until(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.show();
      await delay(stepMs, undefined, { signal }).catch(() => undefined);
    }
    this.show();
  }

  close(): void {
    closeSync(this.#fd);
  }
}
