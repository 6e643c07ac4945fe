/** The bytes of images on the disk: of a directory, and of the chain of its parents. */
import { eachParent } from './chain.ts';
import { compressedSpace } from './compressed.ts';
import type { CompressedSpace } from './compressed-space.ts';
import { isPages, nameOfCompressed } from './dump-names.ts';
import type { Fault } from './fault.ts';
import type { ImageDirectory } from './image-directory.ts';
import { Reading } from './reading.ts';
import { readPagemap } from './task-images.ts';

export interface Space {
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
  /** Without holes. */
  readonly disk: number;
}

export interface Sizes extends Space {
  /** Images of pages: their sizes, and the same without holes. */
  readonly pages: { readonly bytes: number; readonly disk: number };
  /** Images of pages that are compressed; they count among the pages, too, as they are. */
  readonly compressed: CompressedSpace;
  /** Memory that the pagemaps leave to the images before. */
  readonly inParents: number;
}

export interface ChainSizes {
  /** The directory itself, then its parents, the nearest first. */
  readonly directories: readonly Sizes[];
  readonly faults: readonly Fault[];
}

/**
 * @param visit gets the name of each file.
 * @internal
 */
export function sizesIn(
  directory: ImageDirectory,
  visit: (name: string, bytes: number, disk: number) => void = () => undefined,
): { directory: string; files: number; bytes: number; disk: number } {
  const space = { directory: directory.path, files: 0, bytes: 0, disk: 0 };
  for (const entry of directory.entries()) {
    if (!entry.isFile()) continue;
    const stat = directory.stat(entry.name);
    if (!stat?.isFile()) continue;
    const disk = stat.blocks * 512;
    space.files += 1;
    space.bytes += stat.size;
    space.disk += disk;
    visit(entry.name, stat.size, disk);
  }
  return space;
}

/** @internal */
export function chainSizes(directory: ImageDirectory): ChainSizes {
  const reading = new Reading(directory);
  const directories = [sizesOf(reading)];
  eachParent(reading, (parent) => {
    const each = reading.apart(parent);
    directories.push(sizesOf(each));
    for (const fault of each.faults) reading.add({ ...fault, file: `${parent.path}/${fault.file}` });
  });
  return { directories, faults: reading.faults };
}

/** Pages of four KiB: the size on all machines that CRIU runs on but a few, whose pagemaps do not tell it either. */
const pageSize = 4096;

function sizesOf(reading: Reading): Sizes {
  const pages = { bytes: 0, disk: 0 };
  let inParents = 0;
  const space = sizesIn(reading.directory, (name, bytes, disk) => {
    if (isPages(name) || nameOfCompressed(name) !== undefined) {
      pages.bytes += bytes;
      pages.disk += disk;
    } else if (/^pagemap-(shmem-)?\d+\.img$/.test(name)) {
      const found = readPagemap(reading, name);
      if (typeof found !== 'string') inParents += found.inParent * pageSize;
    }
  });
  return { ...space, pages, compressed: compressedSpace(reading), inParents };
}
