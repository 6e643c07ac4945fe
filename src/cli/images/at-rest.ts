/** criuctl images compress and expand, and the same as a part of a dump and of a restore. */
import { closeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  compress as compressed,
  expand as expanded,
  expandMissing,
  type Rested,
} from '../../images/at-rest.ts';
import { eachParent } from '../../images/chain.ts';
import { compressedInChain, missingIn } from '../../images/compressed.ts';
import { ImageDirectory } from '../../images/image-directory.ts';
import { ImageError } from '../../images/image-error.ts';
import { Reading } from '../../images/reading.ts';
import { isRoundName } from '../../images/round-names.ts';
import { ZstdError } from '../../images/zstd.ts';
import { claim } from '../claim.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle } from '../invocation.ts';
import { openTrusted } from '../trust.ts';

export type Way = 'compress' | 'expand';

/** @throws Obstacle, Error of node:fs if there is no such directory. */
export async function atRest(way: Way, path: string, { own, signal }: Invocation): Promise<Rested> {
  const trusted = process.geteuid?.() === 0 && !own.trustImages ? trustedDirectory(way, path) : undefined;
  try {
    return await within(way, trusted === undefined ? path : `/proc/self/fd/${trusted}`, path, signal);
  } finally {
    if (trusted !== undefined) closeSync(trusted);
  }
}

/** Compresses the images of a dump that is complete. @param place of the directory, as this process reaches it. @throws Obstacle */
export function compressDump(place: string, shown: string, signal: AbortSignal): Promise<Rested> {
  return within('compress', place, shown, signal);
}

/**
 * Expands the images of a restore, and those in its parents.
 * @param place of the directory, as this process reaches it.
 * @throws Obstacle
 */
export async function expandChain(
  place: string,
  shown: string,
  signal: AbortSignal,
): Promise<readonly Rested[]> {
  const directories = chainWithCompressed(place, shown);
  const done: Rested[] = [];
  try {
    for (const directory of directories) {
      const lock = claim(directory.place('.'), 'restore', directory.path, true);
      try {
        done.push(await expandMissing(directory, { signal }));
      } catch (error) {
        throw obstacleOf(error, 'RESTORE', directory.path, signal);
      } finally {
        lock.release();
      }
    }
    return done;
  } finally {
    for (const directory of directories) directory.close();
  }
}

/** The directories of a chain in which pages are compressed. A directory that cannot be read is left to CRIU. */
export function compressedDirectories(place: string): readonly string[] {
  let directory: ImageDirectory;
  try {
    directory = new ImageDirectory(place);
  } catch {
    return [];
  }
  try {
    return compressedInChain(new Reading(directory)).map(({ directory: each }) => each);
  } finally {
    directory.close();
  }
}

/** Open, also when the chain has been walked through. */
function chainWithCompressed(place: string, shown: string): ImageDirectory[] {
  const found: ImageDirectory[] = [];
  const keep = (directory: ImageDirectory, path: string): void => {
    if (missingIn(directory).length > 0)
      found.push(Object.assign(new ImageDirectory(directory.place('.')), { path }));
  };
  const directory = new ImageDirectory(place);
  try {
    keep(directory, shown);
    eachParent(new Reading(Object.assign(directory, { path: shown })), (parent) => keep(parent, parent.path));
    return found;
  } finally {
    directory.close();
  }
}

async function within(way: Way, place: string, shown: string, signal: AbortSignal): Promise<Rested> {
  const directory = Object.assign(new ImageDirectory(place), { path: shown });
  try {
    const lock = claim(directory.place('.'), way, shown, true);
    try {
      return await (way === 'compress' ? compressed : expanded)(directory, { signal });
    } catch (error) {
      throw obstacleOf(error, way.toUpperCase(), shown, signal);
    } finally {
      lock.release();
    }
  } finally {
    directory.close();
  }
}

function obstacleOf(error: unknown, request: string, directory: string, signal: AbortSignal): unknown {
  if (signal.aborted) return error;
  const kept = 'Each image is there, as it was or compressed';
  const again = `${kept}: say the same again when that is mended`;
  if (error instanceof ZstdError)
    return new Obstacle(
      exitCodes.failed,
      `${request} failed in ${directory}: ${error.message}`,
      error.is === 'not installed' ? `Install zstd. ${again}` : again,
    );
  if (error instanceof ImageError)
    return new Obstacle(
      exitCodes.failed,
      `${request} failed in ${directory}: ${error.file} ${error.why}`,
      kept,
    );
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const [why] = message.split(', ');
  return new Obstacle(
    exitCodes.failed,
    `${request} failed in ${directory}: ${why}`,
    ...(code === 'EACCES' || code === 'EROFS' || code === 'EPERM'
      ? [`Copy ${directory} to a directory of your own, and use that`]
      : [again]),
  );
}

/**
 * As root: whoever can write in a directory decides which files root reads, and there root removes files.
 * @returns its descriptor.
 * @throws Obstacle
 */
function trustedDirectory(way: Way, path: string): number {
  const fd = trusted(way, path);
  try {
    // Files in a round are looked at like those of the dump.
    for (const round of readdirSync(`/proc/self/fd/${fd}`).filter(isRoundName))
      closeSync(trusted(way, join(path, round)));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** As root: frames of another user's are no input for root's zstd. @returns undefined if they may be read. */
export function distrustOf(path: string): { readonly why: string; readonly remedy: string } | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const rounds = readdirSync(path).filter(isRoundName);
  for (const each of [path, ...rounds.map((round) => join(path, round))]) {
    const found = attempt(each);
    if ('fd' in found) closeSync(found.fd);
    else
      return { why: found.reason, remedy: 'say criuctl images verify as that user, or say --trust-images' };
  }
  return undefined;
}

function trusted(way: Way, path: string): number {
  const found = attempt(path);
  if ('fd' in found) return found.fd;
  throw new Obstacle(
    exitCodes.refused,
    `${way.toUpperCase()} refused: ${found.reason}, and whoever writes there decides what root reads and removes`,
    `Say criuctl images ${way} as that user, or say --trust-images`,
  );
}

function attempt(path: string): ReturnType<typeof openTrusted> {
  try {
    return openTrusted(path, { reads: true, writes: () => false, before: [] });
  } catch (error) {
    const [why] = (error as Error).message.split(', ');
    throw new Obstacle(exitCodes.directory, `Cannot open ${path}: ${why}`);
  }
}
