/**
 * Makes a directory that needs no parent of a dump and the chain of dumps before it: the pages are those that a full dump would have had. The
 * directory is written beside its final place, flushed, and renamed, so that it is there whole or not at all.
 */
import { closeSync, existsSync, fsyncSync, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { eachParent } from './chain.ts';
import { isImage } from './dump-names.ts';
import { ImageDirectory, parentName } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import type { Manifest } from './manifest/format.ts';
import { readManifest } from './manifest/read-manifest.ts';
import { writeManifest } from './manifest/write-manifest.ts';
import { Memory } from './memory.ts';
import { copyImage, writeMemory } from './merged-files.ts';
import { Reading } from './reading.ts';
import { readPagemap, spaceFacts } from './task-images.ts';
import type { Circumstances } from './verdicts.ts';
import { verify } from './verify.ts';

export interface Merged {
  readonly directory: string;
  readonly output: string;
  /** Directories of the chain, that of the dump itself among them. */
  readonly merged: number;
  readonly files: number;
  /** Memory, and how much of it was in the dumps before. */
  readonly memory: { readonly bytes: number; readonly fromParents: number };
}

/** The images cannot be merged, and nothing was written. The message is a sentence. */
export class UnmergeableError extends Error {
  override readonly name = 'UnmergeableError';
  readonly whys: readonly string[];

  constructor(whys: readonly string[]) {
    super(whys[0]);
    this.whys = whys;
  }
}

const pagemapName = /^pagemap-(?:shmem-)?\d+\.img$/;
const memoryName = /^page(?:map|s)-/;

/**
 * @param from the last dump of the chain.
 * @param to a directory that is not there yet.
 * @throws UnmergeableError, Error of node:fs
 * @internal
 */
export async function merge(
  from: string,
  to: string,
  circumstances: Circumstances,
  options: { readonly digestPages?: boolean | undefined } = {},
): Promise<Merged> {
  const directory = new ImageDirectory(from);
  try {
    if (existsSync(to)) throw new UnmergeableError([`${to} is there already`]);
    const plan = planOf(directory, circumstances);
    const place = resolve(to);
    const aside = mkdtempSync(`${dirname(place)}/.${basename(place)}.merge-`);
    try {
      const memory = write(directory, plan, aside);
      const { files } = await writeManifest(
        aside,
        {
          criu: plan.manifest?.criu,
          leftRunning: plan.manifest?.leftRunning ?? false,
          restoreWith: plan.manifest?.restoreWith ?? [],
          made: plan.manifest,
        },
        options,
      );
      renameSync(aside, place);
      flush(dirname(place));
      return { directory: from, output: to, merged: plan.merged, files: files.length, memory };
    } catch (error) {
      rmSync(aside, { recursive: true, force: true });
      throw error;
    }
  } finally {
    directory.close();
  }
}

interface Plan {
  readonly merged: number;
  readonly manifest: Manifest | undefined;
  readonly pageSize: number;
  readonly pagemaps: readonly string[];
  readonly others: readonly string[];
}

/** @throws UnmergeableError if the dump is not whole, or pages are in no directory of the chain. */
function planOf(directory: ImageDirectory, circumstances: Circumstances): Plan {
  const { findings } = verify(directory, circumstances, undefined);
  const whys = findings.items.filter(({ verdict }) => verdict === 'does-not-restore').map(({ why }) => why);
  if (whys.length > 0) throw new UnmergeableError(whys);
  const reading = new Reading(directory);
  const manifest = reading.guarded(() => readManifest(directory));
  const names: string[] = [];
  for (const entry of directory.entries()) if (isImage(entry.name)) names.push(entry.name);
  names.sort();
  const pageSize = pageSizeIn(reading, names);
  const pagemaps = names.filter((name) => pagemapName.test(name));
  requireDistinctPages(reading, pagemaps);
  for (const name of pagemaps) requireWhole(directory, name, pageSize);
  let merged = 1;
  eachParent(reading, () => {
    merged += 1;
  });
  const [fault] = reading.faults;
  if (fault) throw new UnmergeableError([`${fault.file} ${fault.why}`]);
  const isOfThis = !findings.items.some(({ kind }) => kind === 'manifest of another dump');
  return {
    merged,
    manifest: isOfThis ? manifest : undefined,
    pageSize,
    pagemaps,
    others: names.filter((name) => !memoryName.test(name)),
  };
}

/** The size of the machine's pages: the same for all tasks. */
function pageSizeIn(reading: Reading, names: readonly string[]): number {
  let size = 4096;
  const space = names.find((name) => /^mm-\d+\.img$/.test(name));
  if (space !== undefined)
    reading.each(space, 'MM', ({ message }) => {
      size = spaceFacts(message).pageSize;
    });
  return size;
}

/** Two pagemaps with the same pages would overwrite each other. */
function requireDistinctPages(reading: Reading, pagemaps: readonly string[]): void {
  const known = new Map<number, string>();
  for (const name of pagemaps) {
    const facts = readPagemap(reading, name, () => undefined);
    if (typeof facts === 'string') continue;
    const other = known.get(facts.pagesId);
    if (other !== undefined)
      throw new UnmergeableError([`${name} and ${other} have the same pages, pages-${facts.pagesId}.img`]);
    known.set(facts.pagesId, name);
  }
}

function requireWhole(directory: ImageDirectory, name: string, pageSize: number): void {
  const memory = new Memory(directory, name, pageSize);
  let missing = 0;
  try {
    for (const { lacks, pages, source, offset } of memory.extents()) {
      if (lacks === 'missing') missing += pages;
      if (source && offset + pages * pageSize > source.bytes)
        throw new UnmergeableError([`${name} has pages that its pages image lacks`]);
    }
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new UnmergeableError([error.message]);
  } finally {
    memory.close();
  }
  if (missing > 0)
    throw new UnmergeableError([`${missing} pages of ${name} are in no images before (${parentName})`]);
}

function write(directory: ImageDirectory, plan: Plan, aside: string): Merged['memory'] {
  const total = { bytes: 0, fromParents: 0 };
  for (const name of plan.others) copyImage(directory, name, aside);
  for (const name of plan.pagemaps) {
    const { bytes, fromParents } = writeMemory(directory, name, plan.pageSize, aside);
    total.bytes += bytes;
    total.fromParents += fromParents;
  }
  return total;
}

function flush(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } catch (error) {
    // A file system without fsync(2) of directories has nothing to flush.
    if (!['EINVAL', 'ENOSYS', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  } finally {
    closeSync(fd);
  }
}
