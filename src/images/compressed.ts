/** Images of pages at rest: `pages-N.img.zst` is a frame of zstd in the place of `pages-N.img`, and its head tells the size of the pages. */
import { closeSync } from 'node:fs';
import { eachParent } from './chain.ts';
import type { CompressedSpace } from './compressed-space.ts';
import { compressedName, isPages, nameOfCompressed } from './dump-names.ts';
import { type ImageDirectory, readAt } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import type { OpenFile } from './open-regular.ts';
import type { Reading } from './reading.ts';

/** RFC 8878: magic number, descriptor, window, dictionary, and the size of the content. */
const mostHeadBytes = 18;
const leastHeadBytes = 6;
const magicNumber = 0xfd2fb528;

export interface CompressedPages extends OpenFile {
  /** The name of the file. */
  readonly name: string;
  /** The size of the pages, as the file tells it: zstd compares it when it expands them. */
  readonly bytes: number;
}

/**
 * Opens the compressed form of an image of pages. The caller closes its descriptor.
 * @param pages the name of the image of pages.
 * @param name of the file, if it does not have its name yet.
 * @returns undefined if there is none. @throws ImageError
 */
export function openCompressed(
  directory: ImageDirectory,
  pages: string,
  name = compressedName(pages),
): CompressedPages | undefined {
  if (!isPages(pages)) return undefined;
  const opened = directory.open(name);
  if (!opened) return undefined;
  try {
    const head = Buffer.alloc(mostHeadBytes);
    return { ...opened, name, bytes: bytesIn(head.subarray(0, readAt(opened.fd, name, head, 0, 0)), name) };
  } catch (error) {
    closeSync(opened.fd);
    throw error;
  }
}

/** @throws ImageError */
function bytesIn(head: Buffer, name: string): number {
  const broken = (why: string): ImageError => new ImageError(name, undefined, why);
  if (head.length < leastHeadBytes || head.readUInt32LE(0) !== magicNumber)
    throw broken('is no file of zstd, or was cut off');
  const descriptor = head[4]!;
  const isSingle = (descriptor & 0x20) !== 0;
  const size = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  if (size === 0 || (descriptor & 4) === 0)
    throw new ImageError(
      name,
      undefined,
      'does not tell its size and a checksum: it was compressed by another program',
      'unread',
    );
  const at = 5 + (isSingle ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]!;
  if (at + size > head.length) throw broken('was cut off');
  const bytes = size === 8 ? Number(head.readBigUInt64LE(at)) : head.readUIntLE(at, size);
  if (!Number.isSafeInteger(bytes)) throw broken('tells a size that no file has');
  return size === 2 ? bytes + 256 : bytes;
}

/** The size of an image of pages, also of one that is compressed. @throws ImageError */
export function sizeOfPages(directory: ImageDirectory, name: string): number | 'absent' {
  const bytes = directory.sizeOf(name);
  return bytes === 'absent' ? (sizeOfCompressed(directory, name) ?? 'absent') : bytes;
}

/** @param name of the image of pages. @returns undefined if it is not compressed. @throws ImageError */
export function sizeOfCompressed(directory: ImageDirectory, name: string): number | undefined {
  const found = openCompressed(directory, name);
  if (found) closeSync(found.fd);
  return found?.bytes;
}

/** The names of images of pages that have a compressed form, sorted. */
export function compressedIn(directory: ImageDirectory): string[] {
  const names: string[] = [];
  for (const { name } of directory.entries()) {
    const pages = nameOfCompressed(name);
    if (pages !== undefined) names.push(pages);
  }
  return names.sort();
}

/** Those of which the image itself is not there. A run that was killed may have left both, and then CRIU reads the image. */
export function missingIn(directory: ImageDirectory): string[] {
  return compressedIn(directory).filter((name) => !directory.stat(name));
}

/** The directories of a chain of which images of pages are only there compressed, from the dump itself to its last parent. */
export function compressedInChain(
  reading: Reading,
): { readonly directory: string; readonly files: number }[] {
  const { directory } = reading;
  const found = [{ directory: directory.path, files: missingIn(directory).length }];
  eachParent(reading, (parent) => found.push({ directory: parent.path, files: missingIn(parent).length }));
  return found.filter(({ files }) => files > 0);
}

/** Files that cannot be read are faults of the reading. */
export function compressedSpace(reading: Reading): CompressedSpace {
  const space = { files: 0, bytes: 0, expanded: 0 };
  for (const name of compressedIn(reading.directory)) {
    const found = reading.guarded(() => openCompressed(reading.directory, name));
    if (!found) continue;
    closeSync(found.fd);
    space.files += 1;
    space.bytes += found.stat.size;
    space.expanded += found.bytes;
  }
  return space;
}
