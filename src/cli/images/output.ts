/** Standard output for a text in pieces, which may be longer than memory. */
import { writeSync } from 'node:fs';

/** The reader has closed the pipe, as `head` does. */
export class ReaderGone extends Error {
  override readonly name = 'ReaderGone';
}

const enoughBytes = 64 * 1024;

/** How long to wait for a reader of a pipe that does not block. */
const patienceMs = 5;

/** Writes at once and waits for the reader, in pieces of some size. Node's own stream would keep all that the reader has not taken. */
export class Output {
  readonly #fd: number;
  #pieces: string[] = [];
  #length = 0;

  constructor(fd = 1) {
    this.#fd = fd;
  }

  /** @throws ReaderGone, Error of node:fs */
  write(text: string): void {
    this.#pieces.push(text);
    this.#length += text.length;
    if (this.#length >= enoughBytes) this.flush();
  }

  /** @throws ReaderGone, Error of node:fs */
  flush(): void {
    const bytes = Buffer.from(this.#pieces.join(''));
    this.#pieces = [];
    this.#length = 0;
    for (let done = 0; done < bytes.length; ) done += this.#some(bytes, done);
  }

  #some(bytes: Buffer, from: number): number {
    try {
      return writeSync(this.#fd, bytes, from);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') throw new ReaderGone();
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, patienceMs);
      return 0;
    }
  }
}
