/**
 * The memory of a task in images, in the order of addresses, with the place of each page: in the pages of this directory, or in those
 * of a parent. Pagemaps of the whole chain are walked side by side, so that millions of entries take no memory.
 */
import { closeSync } from 'node:fs';
import { compressedName } from './dump-names.ts';
import { type ImageDirectory, mostParents, readAt } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { ImageFile } from './image-file.ts';
import type { OpenFile } from './open-regular.ts';
import { type PageRun, pageRun } from './task-images.ts';

/** Directories that are open at the same time. */
const mostLevels = Math.min(200, mostParents);

export interface Extent {
  readonly address: number;
  readonly pages: number;
  readonly source: PageSource | undefined;
  /** Only without a source: the pagemap leaves the pages to the program (`lazy`), or to nobody; or no parent has them. */
  readonly lacks?: 'lazy' | 'nowhere' | 'missing';
  /** Of the first page, in the source. */
  readonly offset: number;
}

function missing(address: number, pages: number): Extent {
  return { address, pages, source: undefined, offset: 0, lacks: 'missing' };
}

/** An image of pages. */
export class PageSource {
  /** The same for the same file, by whatever path it was found. */
  readonly identity: string;
  readonly bytes: number;
  readonly #name: string;
  readonly #fd: number;

  /** @throws ImageError */
  static of(directory: ImageDirectory, pagesId: number): PageSource {
    const name = `pages-${pagesId}.img`;
    const opened = directory.open(name);
    if (!opened) throw new ImageError(`${directory.path}/${name}`, undefined, absence(directory, name));
    return new PageSource(name, opened);
  }

  private constructor(name: string, { fd, stat }: OpenFile) {
    this.#name = name;
    this.#fd = fd;
    this.bytes = stat.size;
    this.identity = `${stat.dev}:${stat.ino}`;
  }

  /** Fills the buffer; bytes beyond the end of the file are zero. @throws ImageError */
  read(buffer: Buffer, offset: number): void {
    let done = 0;
    for (let read = -1; read !== 0 && done < buffer.length; done += read)
      read = readAt(this.#fd, this.#name, buffer, done, offset + done);
    buffer.fill(0, done);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function absence(directory: ImageDirectory, name: string): string {
  return directory.stat(compressedName(name))
    ? `is compressed; expand it first: criuctl images expand ${directory.path}`
    : 'is missing';
}

/** The pagemap of a task, with the chain of directories that its pages are in. Close it after use. */
export class Memory {
  readonly #name: string;
  readonly #pageSize: number;
  readonly #open: { close(): void }[] = [];
  /** The nearest first; opened as far as pages are in them. */
  readonly #levels: (Level | undefined)[] = [];

  /** @param directory stays open. @param name of the pagemap. */
  constructor(directory: ImageDirectory, name: string, pageSize: number) {
    this.#name = name;
    this.#pageSize = pageSize;
    this.#levels.push(this.#level(directory));
  }

  /** @throws ImageError */
  *extents(): Generator<Extent> {
    for (const { address, pages, place, offset } of this.#levels[0]?.runs() ?? [])
      yield* this.#resolved(0, address, pages, place, offset);
  }

  /** The pages of the directory itself; undefined as long as none was asked for. */
  get ownPages(): PageSource | undefined {
    return this.#levels[0]?.openPages;
  }

  close(): void {
    for (const each of this.#open.splice(0)) each.close();
  }

  *#resolved(
    level: number,
    address: number,
    pages: number,
    place: PageRun['place'],
    offset: number,
  ): Generator<Extent> {
    if (place === 'here') yield { address, pages, source: this.#levels[level]!.pages(), offset };
    else if (place === 'parent') yield* this.#inParent(level + 1, address, pages);
    else yield { address, pages, source: undefined, offset: 0, lacks: level === 0 ? place : 'missing' };
  }

  /** Ranges are asked for in ascending order, so each level is read once. */
  *#inParent(level: number, address: number, pages: number): Generator<Extent> {
    const size = this.#pageSize;
    const end = address + pages * size;
    const parent = this.#parent(level);
    let at = address;
    for (let run = parent?.from(at); run && run.address < end; run = parent?.from(at)) {
      const from = Math.max(run.address, at);
      if (from > at) yield missing(at, (from - at) / size);
      const to = Math.min(run.address + run.pages * size, end);
      yield* this.#resolved(
        level,
        from,
        (to - from) / size,
        run.place,
        run.offset + (run.place === 'here' ? from - run.address : 0),
      );
      at = to;
      if (at >= end) return;
    }
    if (at < end) yield missing(at, (end - at) / size);
  }

  #parent(level: number): Level | undefined {
    if (level in this.#levels) return this.#levels[level];
    const child = this.#levels[level - 1]!.directory;
    if (level > mostLevels)
      throw new ImageError('parent', undefined, `leads over more than ${mostLevels} directories`, 'unread');
    const directory = child.parent();
    if (directory) this.#open.push(directory);
    this.#levels[level] = directory && this.#level(directory);
    return this.#levels[level];
  }

  #level(directory: ImageDirectory): Level | undefined {
    const image = ImageFile.open(directory, this.#name);
    if (!image) return undefined;
    const level = new Level(directory, image, this.#pageSize);
    this.#open.push(level);
    return level;
  }
}

interface PlacedRun extends PageRun {
  /** Of the first page, in the image of pages. */
  readonly offset: number;
}

/** The pagemap in a directory of the chain. */
class Level {
  readonly directory: ImageDirectory;
  readonly #image: ImageFile;
  readonly #runs: Generator<PlacedRun, undefined>;
  readonly #pageSize: number;
  #pagesId = 0;
  #pages: PageSource | undefined;
  #next: PlacedRun | undefined;
  #begun = false;

  constructor(directory: ImageDirectory, image: ImageFile, pageSize: number) {
    this.directory = directory;
    this.#image = image;
    this.#pageSize = pageSize;
    this.#runs = this.#read();
  }

  runs(): Iterable<PlacedRun> {
    return this.#runs;
  }

  /** The run with this address, or the first behind it. */
  from(address: number): PlacedRun | undefined {
    if (!this.#begun) this.#step();
    while (this.#next && this.#next.address + this.#next.pages * this.#pageSize <= address) this.#step();
    return this.#next;
  }

  get openPages(): PageSource | undefined {
    return this.#pages;
  }

  pages(): PageSource {
    this.#pages ??= PageSource.of(this.directory, this.#pagesId);
    return this.#pages;
  }

  close(): void {
    this.#pages?.close();
    this.#image.close();
  }

  #step(): void {
    this.#begun = true;
    const { done, value } = this.#runs.next();
    this.#next = done ? undefined : value;
  }

  *#read(): Generator<PlacedRun, undefined> {
    let index = 0;
    let before = 0;
    let last = 0;
    for (const { message } of this.#image.records()) {
      if (index++ === 0) {
        this.#pagesId = message.number('pages_id')!;
        continue;
      }
      const run = pageRun(message);
      if (run.strange)
        throw new ImageError(
          this.#image.name,
          undefined,
          'keeps pages in a way that is unknown here',
          'unread',
        );
      const end = run.address + run.pages * this.#pageSize;
      if (run.address % this.#pageSize !== 0 || end > Number.MAX_SAFE_INTEGER)
        throw new ImageError(this.#image.name, undefined, 'has an address that no page has');
      if (run.address < last)
        throw new ImageError(this.#image.name, undefined, 'is not in the order of addresses');
      last = run.address + run.pages * this.#pageSize;
      // A run may claim any number of pages, and each would be compared.
      if (run.place === 'here' && before + run.pages * this.#pageSize > this.pages().bytes)
        throw new ImageError(
          `pages-${this.#pagesId}.img`,
          undefined,
          'has fewer pages than its pagemap says',
        );
      if (run.pages > 0) yield { ...run, offset: before };
      if (run.place !== 'here') continue;
      before += run.pages * this.#pageSize;
    }
    return undefined;
  }
}
