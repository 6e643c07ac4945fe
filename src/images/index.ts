/**
 * A reader of CRIU's images: `import { showImages } from 'criu-service/images'`. It needs no CRIU, no service and no root, trusts nothing in a
 * directory, and takes little memory for images of any size. All functions read at once, and block until they are done; only
 * {@link writeManifest} and {@link mergeImages} are asynchronous.
 *
 * Each throws an error of node:fs if a directory cannot be opened.
 *
 * @module
 */
import { basename, dirname } from 'node:path';
import { compare, type Difference } from './compare.ts';
import { type Contents, contentsOf } from './contents.ts';
import { decode, recordText } from './decode.ts';
import { ImageError } from './image-error.ts';
import { ImageFile } from './image-file.ts';
import type { Manifest } from './manifest/format.ts';
import { readManifest as read } from './manifest/read-manifest.ts';
import { type Merged, merge } from './merge.ts';
import { opening } from './opening.ts';
import { type Pruning, prune } from './prune.ts';
import { type ChainSizes, chainSizes } from './sizes.ts';
import { thisMachine } from './this-machine.ts';
import { type Verification, verify } from './verify.ts';

export type { InternetSocket } from './addresses.ts';
export type { Listed } from './bounded.ts';
export type { Difference, MappingDifference, TaskDifference } from './compare.ts';
export type { PageCounts } from './compare-memory.ts';
export type { CompressedSpace } from './compressed-space.ts';
export type { Contents, TaskContents } from './contents.ts';
export type { Fault } from './fault.ts';
export { ImageError } from './image-error.ts';
export {
  type Manifest,
  ManifestError,
  type ManifestFile,
  type ManifestMachine,
  type ManifestTask,
} from './manifest/format.ts';
export {
  type DumpFacts,
  type ManifestOptions,
  writeManifest,
} from './manifest/write-manifest.ts';
export { type Merged, UnmergeableError } from './merge.ts';
export type { OpenFiles, ShownFile, Terminal, UnixSocket } from './open-files.ts';
export type { PrunedCheckpoint, Pruning } from './prune.ts';
export type { Checkpoint, Fate } from './pruning.ts';
export type { ChainSizes, Sizes, Space } from './sizes.ts';
export type { TreeTask } from './tree.ts';
export type { Finding, Verification } from './verify.ts';

/** The contents of a directory: the tree, memory, files, sockets, what a restore needs, and the chain of parents. */
export function showImages(directory: string): Contents {
  return opening(directory, contentsOf);
}

/** How images are verified. */
export interface VerifyOptions {
  /** Looks at this machine, too: files, pids, ports, rights. Default: true. */
  readonly machine?: boolean | undefined;
  /**
   * Reads pages for their digest, if the manifest has digests of them. Default: true. Compressed pages are not read here; where they have a
   * digest, the verdict is `cannot-be-told`.
   */
  readonly pages?: boolean | undefined;
  /** The restore has `tcpClose`. */
  readonly tcpClose?: boolean | undefined;
}

/** Would the dump restore, here and now, for this process's user? By its manifest, too, if it has one. */
export function verifyImages(
  directory: string,
  { machine = true, pages = true, tcpClose = false }: VerifyOptions = {},
): Verification {
  const rights = { uid: process.geteuid!(), gid: process.getegid!(), groups: process.getgroups!() };
  return opening(directory, (opened) =>
    verify(opened, { ...rights, tcpClose }, machine ? thisMachine : undefined, pages ? 'all' : 'small'),
  );
}

/** The differences between a dump and a later dump. */
export function compareImages(first: string, second: string): Difference {
  return opening(first, (a) => opening(second, (b) => compare(a, b)));
}

/** The bytes of a directory on the disk, and of its parents. */
export function imageSizes(directory: string): ChainSizes {
  return opening(directory, chainSizes);
}

/**
 * Removes old dumps in the numbered directories of a series. It keeps the newest whole dumps, all that they need, and all that is not
 * of a dump.
 * @param keep the number of whole dumps, at least 1.
 */
export function pruneImages(
  series: string,
  keep: number,
  options: { readonly dryRun?: boolean | undefined } = {},
): Pruning {
  return prune(series, keep, { dryRun: options.dryRun ?? false });
}

/**
 * Makes a directory that needs no parent of a dump and the dumps before it, with a manifest.
 * @param to a directory that is not there yet. It is there whole, or not at all.
 * @throws UnmergeableError if the dump is not whole: then nothing was written.
 */
export function mergeImages(
  from: string,
  to: string,
  options: { readonly digestPages?: boolean | undefined } = {},
): Promise<Merged> {
  const rights = { uid: process.geteuid!(), gid: process.getegid!(), groups: process.getgroups!() };
  return merge(from, to, rights, options);
}

/**
 * The manifest of a finished dump.
 * @returns undefined if there is none.
 * @throws ImageError if it cannot be read.
 */
export function readManifest(directory: string): Manifest | undefined {
  return read(directory);
}

/** A record of an image, with the names that crit(1) has. Numbers above 2^53 are strings of digits, and bytes are in base64. */
export type DecodedRecord = { readonly [field: string]: unknown };

/**
 * The records of an image, one after the other. The file is open until the last record, or until the loop is left.
 * @param file its path. Its name may be any; its magic number counts.
 * @throws ImageError for a file that is missing, no image, or broken, also behind the first records.
 */
export function* readImage(file: string): Generator<DecodedRecord, void, void> {
  const image = openImage(file);
  try {
    for (const record of image.records()) yield JSON.parse(recordText(record)) as DecodedRecord;
  } finally {
    image.close();
  }
}

/**
 * An image as JSON, as `crit decode` prints it: an object with magic and entries.
 * @param file its path.
 * @param write gets the text in pieces.
 * @throws ImageError, perhaps after a part of the text.
 */
export function decodeImage(file: string, write: (text: string) => void): void {
  const image = openImage(file);
  try {
    decode(image, write);
  } finally {
    image.close();
  }
}

function openImage(file: string): ImageFile {
  const image = opening(dirname(file), (directory) => ImageFile.open(directory, basename(file)));
  if (!image) throw new ImageError(file, undefined, 'is missing');
  return image;
}
