/** Names of the files that a dump writes, beside which a directory has only what its user put there. Pure. */
import { manifestName, unfinishedManifestName } from './manifest/names.ts';
import { isRoundName } from './round-names.ts';

/** All files that CRIU reads and writes as images have such a name (criu/image-desc.c). */
export function isImage(name: string): boolean {
  return name.endsWith('.img');
}

const pagesName = /^pages-(?:shmem-)?\d+\.img$/;

/** An image of pages: of all images, these alone are compressed. */
export function isPages(name: string): boolean {
  return pagesName.test(name);
}

/** The name of an image of pages at rest. */
export function compressedName(name: string): string {
  return `${name}.zst`;
}

/** @returns the name of the image of pages; undefined if this is no name of a compressed image. */
export function nameOfCompressed(name: string): string | undefined {
  const pages = name.endsWith('.zst') ? name.slice(0, -'.zst'.length) : '';
  return isPages(pages) ? pages : undefined;
}

/**
 * The name of an image of pages, compressed or not, until it is complete.
 * @param run its number and a part by chance, so that two runs in a directory never write the same file.
 */
export function unfinishedName(name: string, run: { readonly pid: number; readonly chance: string }): string {
  return `${name}.${run.pid}-${run.chance}.new`;
}

const unfinishedEnd = /(?:\.\d+-[\da-f]+)?\.new$/;

/** A file that a killed criuctl has left where it compressed or expanded pages. Nothing reads it. */
export function isUnfinishedPages(name: string): boolean {
  const complete = unfinishedEnd.test(name) ? name.replace(unfinishedEnd, '') : '';
  return isPages(complete) || nameOfCompressed(complete) !== undefined;
}

/** A file of this name is a manifest only if it begins as a manifest. */
export function isManifestName(name: string): boolean {
  return name === manifestName || name === unfinishedManifestName;
}

/** While a criuctl dumps into a directory, or compresses its pages, it holds a lock of this file. */
export const lockName = 'criuctl.lock';

/** An image, compressed or not, a round, a manifest, the link to the images before, a log, CRIU's statistics, or the lock of a dump in flight. */
export function isOfDump(name: string): boolean {
  return (
    isImage(name) ||
    nameOfCompressed(name) !== undefined ||
    isUnfinishedPages(name) ||
    isRoundName(name) ||
    isManifestName(name) ||
    name === 'parent' ||
    name.endsWith('.log') ||
    name === 'stats-dump' ||
    name === 'stats-restore' ||
    name === lockName
  );
}
