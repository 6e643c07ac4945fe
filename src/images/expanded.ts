/** Reads the pages in compressed images to their end, for `images verify`: the checksum of each is compared, and its digest is made. */
import { closeSync } from 'node:fs';
import { digestOfCompressed } from './at-rest.ts';
import { type CompressedPages, missingIn, openCompressed } from './compressed.ts';
import { compressedName } from './dump-names.ts';
import type { ImageDirectory } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { isRoundName } from './round-names.ts';
import type { Thing } from './things.ts';
import type { ExpandedPages } from './verify.ts';
import { ZstdError } from './zstd.ts';

/** Those of a directory, and of its rounds. A directory before has its own look. */
export async function readExpanded(directory: ImageDirectory): Promise<ExpandedPages> {
  const things: Thing[] = [];
  const digests = new Map<string, string>();
  await read(directory, '', things, digests);
  for (const { name } of directory.entries()) {
    const round = isRoundName(name) ? directory.below(name) : undefined;
    if (round) await read(round, `${name}/`, things, digests).finally(() => round.close());
  }
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
      if (error instanceof ZstdError && error.is === 'not installed')
        things.push({ kind: 'compressed pages', file, is: 'without zstd' });
      else {
        const why = error instanceof ImageError ? `it ${error.why}` : error.message;
        things.push({ kind: 'compressed pages', file, is: 'broken', why });
      }
    } finally {
      closeSync(opened.fd);
    }
  }
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
