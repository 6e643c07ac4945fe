/**
 * An engine's standard output and error: a sealed memfd.
 *
 * A pipe would block the engine while it is not read, and if its reader has gone (this service was restarted), it would kill the
 * engine with SIGPIPE in the middle of a dump. The memfd is sealed against growing, because an engine could write forever.
 */
import { readSync } from 'node:fs';
import { native, type OwnedFd } from '../native/binding.ts';

/** Writes past this fail with EPERM; memory is used only for bytes that were written. */
const capacity = 1 << 18;

/** The length of the end that is read. */
export const stderrTailBytes = 4096;

export class StderrFile {
  readonly fd: OwnedFd;
  /** Lines before this were about an earlier request. */
  #start = 0;

  /** @param fd from an earlier start of this service. */
  constructor(name: string, fd: OwnedFd = native.memfd(name, capacity)) {
    this.fd = fd;
  }

  /** Another request begins: what was written so far is not about that. */
  turnPage(): void {
    this.#start = this.#read().length;
  }

  /** The last lines, at most {@link stderrTailBytes} in all, with control characters removed. */
  tail(): string[] {
    const written = this.#read();
    return written
      .subarray(Math.max(this.#start, written.length - stderrTailBytes))
      .toString('utf8')
      .split('\n')
      .map((line) => line.replace(/\p{Cc}/gu, ' ').trim())
      .filter((line) => line !== '');
  }

  close(): void {
    this.fd.close();
  }

  /** The file has its full size from the start; its unwritten part is zero. */
  #read(): Buffer {
    const buffer = Buffer.alloc(capacity);
    const length = readSync(this.fd.number, buffer, 0, capacity, 0);
    const end = buffer.subarray(0, length).indexOf(0);
    return buffer.subarray(0, end === -1 ? length : end);
  }
}
