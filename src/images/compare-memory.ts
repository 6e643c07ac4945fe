/** Which pages of a task's memory differ between two dumps? Pages are compared byte by byte, unless both are the same in the same file. */
import type { Extent, Memory } from './memory.ts';

export interface PageCounts {
  /** Pages in both that differ. */
  changed: number;
  same: number;
  /** Pages in the second alone, or in the first alone. */
  added: number;
  removed: number;
  /** Pages whose bytes are in neither images nor their parents. */
  unknown: number;
}

/** @internal */
export const noPages = (): PageCounts => ({ changed: 0, same: 0, added: 0, removed: 0, unknown: 0 });

const chunkBytes = 256 * 1024;

/**
 * @param visit gets the address of each page that is in one of them or in both, in ascending order.
 * @throws ImageError
 * @internal
 */
export function compareMemory(
  first: Memory | undefined,
  second: Memory | undefined,
  pageSize: number,
  visit: (address: number, pages: number, is: keyof PageCounts) => void,
): void {
  const chunks = { a: Buffer.allocUnsafeSlow(chunkBytes), b: Buffer.allocUnsafeSlow(chunkBytes) };
  const [left, right] = [new Cursor(first, pageSize), new Cursor(second, pageSize)];
  for (;;) {
    const [a, b] = [left.extent, right.extent];
    if (!a && !b) return;
    if (!b || (a && a.address < b.address)) {
      const pages = b ? Math.min(a!.pages, (b.address - a!.address) / pageSize) : a!.pages;
      visit(a!.address, pages, 'removed');
      left.advance(pages);
    } else if (!a || b.address < a.address) {
      const pages = a ? Math.min(b.pages, (a.address - b.address) / pageSize) : b.pages;
      visit(b.address, pages, 'added');
      right.advance(pages);
    } else {
      const pages = Math.min(a.pages, b.pages);
      compareExtents(a, b, pages, pageSize, chunks, visit);
      left.advance(pages);
      right.advance(pages);
    }
  }
}

function compareExtents(
  a: Extent,
  b: Extent,
  pages: number,
  pageSize: number,
  chunks: { readonly a: Buffer; readonly b: Buffer },
  visit: (address: number, pages: number, is: keyof PageCounts) => void,
): void {
  if (!a.source || !b.source) {
    visit(a.address, pages, 'unknown');
    return;
  }
  if (a.source.identity === b.source.identity && a.offset === b.offset) {
    visit(a.address, pages, 'same');
    return;
  }
  const most = Math.max(1, Math.floor(chunkBytes / pageSize));
  for (let done = 0; done < pages; done += most) {
    const count = Math.min(most, pages - done);
    const bytes = count * pageSize;
    const [before, after] = [chunks.a.subarray(0, bytes), chunks.b.subarray(0, bytes)];
    a.source.read(before, a.offset + done * pageSize);
    b.source.read(after, b.offset + done * pageSize);
    const address = a.address + done * pageSize;
    if (before.equals(after)) {
      visit(address, count, 'same');
      continue;
    }
    for (let page = 0; page < count; page++) {
      const [from, to] = [page * pageSize, (page + 1) * pageSize];
      const same = before.compare(after, from, to, from, to) === 0;
      visit(address + from, 1, same ? 'same' : 'changed');
    }
  }
}

/** The rest of an extent, and the extents behind it. */
class Cursor {
  extent: Extent | undefined;
  readonly #extents: Iterator<Extent>;
  readonly #pageSize: number;

  constructor(memory: Memory | undefined, pageSize: number) {
    this.#extents = (memory?.extents() ?? [])[Symbol.iterator]();
    this.#pageSize = pageSize;
    this.#next();
  }

  advance(pages: number): void {
    const { address, pages: all, source, offset } = this.extent!;
    if (pages >= all) this.#next();
    else {
      const bytes = pages * this.#pageSize;
      this.extent = {
        address: address + bytes,
        pages: all - pages,
        source,
        offset: source ? offset + bytes : 0,
      };
    }
  }

  #next(): void {
    let next = this.#extents.next();
    while (!next.done && next.value.lacks === 'nowhere') next = this.#extents.next();
    this.extent = next.done ? undefined : next.value;
  }
}
