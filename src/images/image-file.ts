/**
 * Reads an image record by record. A size in the file counts only after the file was found to have so many bytes, so that a file
 * can ask for no more memory than it has bytes, and for at most one record.
 */
import { closeSync, type Stats } from 'node:fs';
import { endianness } from 'node:os';
import { WireError } from '../protocol/wire.ts';
import { checkMessage, TooDeepError } from './check.ts';
import { headMagics } from './head-magics.ts';
import { type ImageDirectory, readAt } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { type Kind, kindOf, type Payload } from './kinds.ts';
import { Message } from './message.ts';
import type { OpenFile } from './open-regular.ts';
import type { MessageType } from './schema.ts';

/** A record of CRIU: only address spaces are larger than some KiB, and 65,530 mappings take 4 MiB. */
export const mostRecordBytes = 8 * 1024 * 1024;

const windowBytes = 64 * 1024;
const littleEndian = endianness() === 'LE';

export interface ImageRecord {
  /** Valid until the next record is read. */
  readonly message: Message;
  /** Where the record begins in the file. */
  readonly offset: number;
  /** Raw bytes behind the message. */
  readonly payload: { readonly offset: number; readonly bytes: number } | undefined;
}

/** A window on each open file; most often only a single file is open. */
const idleWindows: Buffer[] = [];

export class ImageFile {
  readonly name: string;
  readonly size: number;
  /** The time of its last change. */
  readonly written: Date;
  readonly kind: Kind;
  readonly #fd: number;
  readonly #window: Buffer;
  /** For a record that is larger than the window; grows. */
  #large = Buffer.alloc(0);
  #windowStart = 0;
  #windowEnd = 0;
  #position = 0;

  /** @returns undefined if there is no such file. @throws ImageError */
  static open(directory: ImageDirectory, name: string): ImageFile | undefined {
    const opened = directory.open(name);
    return opened && ImageFile.of(name, opened);
  }

  /** Owns the descriptor. @throws ImageError */
  static of(name: string, { fd, stat }: OpenFile): ImageFile {
    try {
      return new ImageFile(name, fd, stat);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  private constructor(name: string, fd: number, { size, mtime }: Stats) {
    this.name = name;
    this.size = size;
    this.written = mtime;
    this.#fd = fd;
    this.#window = idleWindows.pop() ?? Buffer.allocUnsafeSlow(windowBytes);
    this.kind = this.#readHead();
  }

  close(): void {
    closeSync(this.#fd);
    idleWindows.push(this.#window);
  }

  /** @throws ImageError */
  *records(): Generator<ImageRecord> {
    const { records, payload, single, queued, ghost } = this.kind;
    const last = records.length - 1;
    for (let index = 0; this.#position < this.size && !(single && index > 0); index++) {
      const record = this.#record(records[Math.min(index, last)]!, ghost ? undefined : payload);
      if (!ghost) yield record;
      if (queued) {
        for (let left = record.message.number(queued.count) ?? 0; left > 0; left--)
          yield this.#record(queued.record, queued.payload);
      }
      if (ghost) {
        const chunked = record.message.bool('chunks');
        yield chunked ? record : { ...record, payload: this.#payload(this.size - this.#position, 0) };
        while (this.#position < this.size) yield this.#record(ghost.chunk, ghost.payload);
      }
    }
  }

  fault(offset: number | undefined, why: string): ImageError {
    return new ImageError(this.name, offset, why);
  }

  #readHead(): Kind {
    const first = this.#word();
    const magic = headMagics.includes(first) ? this.#word() : first;
    const kind = kindOf(magic);
    if (!kind) throw this.fault(0, `is no image that is known here (magic number 0x${magic.toString(16)})`);
    return kind;
  }

  #record(type: MessageType, payload: Payload | undefined): ImageRecord {
    const offset = this.#position;
    const size = this.#word();
    const left = this.size - this.#position;
    if (size > left) throw this.fault(offset, `announces a record of ${size} bytes, and ${left} are left`);
    if (size > mostRecordBytes)
      throw new ImageError(
        this.name,
        offset,
        `has a record of ${size} bytes; more than ${mostRecordBytes} are not read`,
        'unread',
      );
    const at = this.#position;
    const message = new Message(type, this.#bytes(size));
    try {
      checkMessage(message);
      const follows = payload?.(message);
      return {
        message,
        offset,
        payload: follows && this.#payload(follows.bytes, follows.padding),
      };
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      const is = error instanceof TooDeepError ? 'unread' : 'broken';
      throw new ImageError(this.name, at + error.offset, error.why, is);
    }
  }

  /** Steps over raw bytes, which nobody needs in memory. */
  #payload(bytes: number, padding: number): { offset: number; bytes: number } {
    const offset = this.#position;
    const left = this.size - offset;
    if (bytes > left) throw this.fault(offset, `needs ${bytes} bytes behind a record, and ${left} are left`);
    this.#position = Math.min(offset + bytes + padding, this.size);
    return { offset, bytes };
  }

  #word(): number {
    const at = this.#position;
    if (this.size - at < 4) throw this.fault(at, `ends in a number (${this.size - at} of 4 bytes)`);
    const bytes = this.#bytes(4);
    return littleEndian ? bytes.readUInt32LE(0) : bytes.readUInt32BE(0);
  }

  /** The caller has compared the count with the size of the file. */
  #bytes(count: number): Buffer {
    const at = this.#position;
    if (count > windowBytes) {
      if (this.#large.length < count) this.#large = Buffer.allocUnsafeSlow(count);
      const record = this.#large.subarray(0, count);
      this.#fill(record, at);
      this.#position = at + count;
      return record;
    }
    if (at < this.#windowStart || at + count > this.#windowEnd) {
      const wanted = Math.min(windowBytes, this.size - at);
      this.#windowStart = at;
      this.#windowEnd = at;
      this.#fill(this.#window.subarray(0, wanted), at);
      this.#windowEnd = at + wanted;
    }
    this.#position = at + count;
    const from = at - this.#windowStart;
    return this.#window.subarray(from, from + count);
  }

  #fill(buffer: Buffer, position: number): void {
    for (let done = 0; done < buffer.length; ) {
      const read = readAt(this.#fd, this.name, buffer, done, position + done);
      if (read === 0) throw this.fault(position + done, 'was shortened while it was read');
      done += read;
    }
  }
}
