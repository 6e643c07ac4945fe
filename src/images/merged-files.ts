/** Writes the files of a merged directory: copies of images, and the memory of each pagemap with the pages of the whole chain. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import { type ImageDirectory, readAt } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { type Extent, Memory } from './memory.ts';
import { Reading } from './reading.ts';
import { lazyFlag, presentFlag } from './task-images.ts';

const chunkBytes = 256 * 1024;
const zeros = Buffer.alloc(chunkBytes);
const littleEndian = endianness() === 'LE';

/** The field of the number of pages has 32 bits in CRIU before 4.2. */
const mostPagesInRun = 2 ** 31;

/** A new file, for its user alone. Chunks of zeros become holes. */
class NewFile {
  bytes = 0;
  readonly #fd: number;

  /** @throws Error of node:fs */
  constructor(directory: string, name: string) {
    this.#fd = openSync(`${directory}/${name}`, 'wx', 0o600);
  }

  append(bytes: Buffer): void {
    if (!bytes.equals(zeros.subarray(0, bytes.length)))
      for (let done = 0; done < bytes.length; )
        done += writeSync(this.#fd, bytes, done, bytes.length - done, this.bytes + done);
    this.bytes += bytes.length;
  }

  close(): void {
    try {
      ftruncateSync(this.#fd, this.bytes);
    } finally {
      closeSync(this.#fd);
    }
  }
}

/** @throws ImageError, Error of node:fs */
export function copyImage(directory: ImageDirectory, name: string, aside: string): void {
  const opened = directory.open(name);
  if (!opened) throw new ImageError(name, undefined, 'was removed meanwhile');
  try {
    const file = new NewFile(aside, name);
    try {
      const chunk = Buffer.allocUnsafeSlow(chunkBytes);
      for (let read = -1; read !== 0; ) {
        read = readAt(opened.fd, name, chunk, 0, file.bytes);
        file.append(chunk.subarray(0, read));
      }
    } finally {
      file.close();
    }
  } finally {
    closeSync(opened.fd);
  }
}

/** A pagemap of pages that are here, and its pages. @throws ImageError, Error of node:fs */
export function writeMemory(
  directory: ImageDirectory,
  name: string,
  pageSize: number,
  aside: string,
): { readonly bytes: number; readonly fromParents: number } {
  const { head, pagesId, style } = beginningOf(directory, name);
  const memory = new Memory(directory, name, pageSize);
  try {
    const map = new Pagemap(new NewFile(aside, name), head, pageSize, style);
    const pages = new NewFile(aside, `pages-${pagesId}.img`);
    try {
      let fromParents = 0;
      const chunk = Buffer.allocUnsafeSlow(chunkBytes);
      for (const extent of memory.extents()) {
        if (extent.lacks === 'missing') throw new ImageError(name, undefined, 'was changed meanwhile');
        map.add(extent);
        if (!extent.source) continue;
        copyPages(extent, pageSize, pages, chunk);
        if (extent.source !== memory.ownPages) fromParents += extent.pages * pageSize;
      }
      return { bytes: pages.bytes, fromParents };
    } finally {
      pages.close();
      map.close();
    }
  } finally {
    memory.close();
  }
}

function copyPages({ source, offset, pages }: Extent, pageSize: number, to: NewFile, chunk: Buffer): void {
  const end = offset + pages * pageSize;
  for (let at = offset; at < end; at += chunkBytes) {
    const piece = chunk.subarray(0, Math.min(chunkBytes, end - at));
    source!.read(piece, at);
    to.append(piece);
  }
}

/** The fields of an entry, as the CRIU of the dump writes them. */
interface Style {
  readonly hasFlags: boolean;
  readonly hasLongNumber: boolean;
}

/** The bytes of a pagemap before its first entry. */
function beginningOf(
  directory: ImageDirectory,
  name: string,
): { readonly head: Buffer; readonly pagesId: number; readonly style: Style } {
  let end = 0;
  let pagesId = 0;
  const style = { hasFlags: true, hasLongNumber: false };
  const reading = new Reading(directory);
  reading.each(name, 'PAGEMAP', ({ message, offset }, index) => {
    if (index === 0) {
      pagesId = message.number('pages_id')!;
      end = offset + 4 + (message.end - message.start);
      return undefined;
    }
    style.hasFlags = message.number('flags') !== undefined;
    style.hasLongNumber = message.number('nr_pages') !== undefined;
    return 'enough';
  });
  const [fault] = reading.faults;
  if (fault) throw new ImageError(fault.file, fault.offset, fault.why, fault.is);
  return { head: directory.readPart(name, 0, end), pagesId, style };
}

/** Entries of a pagemap in the making; those that follow each other become one. */
class Pagemap {
  readonly #file: NewFile;
  readonly #pageSize: number;
  readonly #style: Style;
  #entries: Buffer[] = [];
  #size = 0;
  #last: { readonly address: number; pages: number; readonly flags: number } | undefined;

  constructor(file: NewFile, head: Buffer, pageSize: number, style: Style) {
    this.#file = file;
    this.#pageSize = pageSize;
    this.#style = style;
    file.append(head);
  }

  add({ address, pages, lacks }: Extent): void {
    const flags = lacks === undefined ? presentFlag : lacks === 'lazy' ? lazyFlag : 0;
    for (let done = 0; done < pages; ) {
      const count = Math.min(pages - done, mostPagesInRun);
      this.#addRun(address + done * this.#pageSize, count, flags);
      done += count;
    }
  }

  close(): void {
    try {
      this.#write();
      this.#flush();
    } finally {
      this.#file.close();
    }
  }

  #addRun(address: number, pages: number, flags: number): void {
    const last = this.#last;
    const follows = last?.flags === flags && last.address + last.pages * this.#pageSize === address;
    if (last && follows && last.pages + pages <= mostPagesInRun) {
      last.pages += pages;
      return;
    }
    this.#write();
    this.#last = { address, pages, flags };
  }

  #write(): void {
    if (!this.#last) return;
    const { address, pages, flags } = this.#last;
    const { hasFlags, hasLongNumber } = this.#style;
    const entry = [
      ...field(1, address),
      ...field(2, pages),
      ...(hasFlags || flags !== presentFlag ? field(4, flags) : []),
      ...(hasLongNumber ? field(5, pages) : []),
    ];
    const record = Buffer.alloc(4 + entry.length);
    if (littleEndian) record.writeUInt32LE(entry.length);
    else record.writeUInt32BE(entry.length);
    record.set(entry, 4);
    this.#entries.push(record);
    this.#size += record.length;
    this.#last = undefined;
    if (this.#size >= chunkBytes) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#entries);
    for (let at = 0; at < bytes.length; at += chunkBytes)
      this.#file.append(bytes.subarray(at, at + chunkBytes));
    this.#entries = [];
    this.#size = 0;
  }
}

/** A varint field of protobuf. */
function field(number: number, value: number): number[] {
  const bytes = [number << 3];
  let left = value;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) | 128);
  bytes.push(left);
  return bytes;
}
