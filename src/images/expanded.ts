/** Reads the pages in compressed images to their end, for `images verify`: the checksum of each is compared, and its digest is made. */
import { closeSync } from 'node:fs';
import { digestOfCompressed } from './at-rest.ts';
import { eachParent } from './chain.ts';
import { type CompressedPages, missingIn, openCompressed } from './compressed.ts';
import { compressedName } from './dump-names.ts';
import type { ImageDirectory } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { Reading } from './reading.ts';
import { isRoundName } from './round-names.ts';
import type { Thing } from './things.ts';
import type { ExpandedPages } from './verify.ts';
import { isInstalled, ZstdError } from './zstd.ts';

/** Those of a directory, and of its rounds. A directory before has its own look. */
export async function readExpanded(directory: ImageDirectory): Promise<ExpandedPages> {
  const things: Thing[] = [];
  const digests = new Map<string, string>();
  await read(directory, '', things, digests);
  for (const { name } of directory.entries()) {
    const round = isRoundName(name) ? directory.below(name) : undefined;
    if (round) await read(round, `${name}/`, things, digests).finally(() => round.close());
  }
  things.push(...withoutZstd(directory, 'parents'));
  return { things, digests };
}

async function read(
  directory: ImageDirectory,
  prefix: string,
  things: Thing[],
  digests: Map<string, string>,
): Promise<void> {
  for (const name of missingIn(directory)) {
    const opened = headOf(directory, name);
    if (!opened) continue;
    const file = prefix + compressedName(name);
    try {
      digests.set(prefix + name, await digestOfCompressed(opened));
      things.push({ kind: 'compressed pages', file, is: 'whole' });
    } catch (error) {
      if (!(error instanceof ImageError || error instanceof ZstdError)) throw error;
      if (error instanceof ImageError)
        things.push({ kind: 'compressed pages', file, is: 'broken', why: `it ${error.why}` });
      else things.push({ kind: 'compressed pages', file, ...said(error) });
    } finally {
      closeSync(opened.fd);
    }
  }
}

/** The same, without a look into the pages, of a directory whose files are not to be read with the rights of this process. */
export function leaveUnread(directory: ImageDirectory, why: string, remedy: string): ExpandedPages {
  const things: Thing[] = [];
  const add = (each: ImageDirectory, prefix: string): void => {
    for (const name of missingIn(each))
      things.push({
        kind: 'compressed pages',
        file: prefix + compressedName(name),
        is: 'unread',
        why,
        remedy,
      });
  };
  add(directory, '');
  for (const { name } of directory.entries()) {
    const round = isRoundName(name) ? directory.below(name) : undefined;
    if (!round) continue;
    try {
      add(round, `${name}/`);
    } finally {
      round.close();
    }
  }
  things.push(...withoutZstd(directory, 'parents'));
  return { things, digests: new Map() };
}

/** A zstd that was not run to its end says nothing about the pages. */
function said({ is, message: why }: ZstdError): Pick<Thing & { kind: 'compressed pages' }, 'is' | 'why'> {
  switch (is) {
    case 'not installed':
      return { is: 'without zstd' };
    case 'not run':
      return { is: 'unread', why };
    case 'failed':
      return { is: 'broken', why };
  }
}

/** The compressed images of a chain, if zstd is not installed, which a restore needs for them; else nothing. */
export function withoutZstd(directory: ImageDirectory, of: 'chain' | 'parents'): Thing[] {
  const found: { readonly file: string; readonly kind: 'compressed pages'; readonly is: 'without zstd' }[] =
    [];
  const add = (each: ImageDirectory, prefix: string): void => {
    for (const name of missingIn(each))
      found.push({ kind: 'compressed pages', file: prefix + compressedName(name), is: 'without zstd' });
  };
  if (of === 'chain') add(directory, '');
  eachParent(new Reading(directory), (parent) => add(parent, `${parent.path}/`));
  return found.length === 0 || isInstalled() ? [] : found;
}

/** @returns undefined for a faulty head, which is told where the size of the pages is asked for. */
function headOf(directory: ImageDirectory, name: string): CompressedPages | undefined {
  try {
    return openCompressed(directory, name);
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
}
