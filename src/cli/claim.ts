/**
 * A directory that a criuctl dumps into is its own until the dump has ended: another dump there would mix the images of both. The same holds
 * where a criuctl compresses or expands images.
 */
import { closeSync, constants, lstatSync, openSync, unlinkSync } from 'node:fs';
import { lockName } from '../images/dump-names.ts';
import { type Lock, tryToLock } from '../job/lock.ts';
import { exitCodes } from './exit-codes.ts';
import { Obstacle } from './invocation.ts';

/**
 * The kernel lets it go with this process, however that ends.
 * @param shown the directory, as its user has named it.
 * @param isRemoving files are removed there, which another criuctl could be about to read: a lock that cannot be tried is an obstacle.
 * @throws Obstacle if another criuctl dumps into the directory, or compresses or expands its images.
 */
export function claim(directory: string, verb: string, shown = directory, isRemoving = false): Lock {
  let fd: number | undefined;
  let lock: Lock | undefined;
  let path = '';
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    // The directory may move, or be exchanged with another.
    path = `/proc/self/fd/${fd}/${lockName}`;
    lock = attempt(path);
  } catch (error) {
    const isRefused = isRemoving && isNotYours(path, error);
    if (fd !== undefined) closeSync(fd);
    if (isRefused)
      throw new Obstacle(
        exitCodes.refused,
        `${inCapitals(verb)} refused: ${shown}/${lockName} is not yours, so that a criuctl at work there would not be seen`,
        `Ask its owner to remove it, or copy ${shown} to a directory of your own, and use that`,
      );
    // A directory that takes no file takes no image: the client says why. A file system without locks has no claims.
    return { release: () => {} };
  }
  if (!lock) {
    closeSync(fd);
    throw new Obstacle(
      exitCodes.refused,
      `${inCapitals(verb)} refused: another criuctl dumps into ${shown}, or compresses it, right now`,
      'Name another directory, or wait for its end',
    );
  }
  return {
    release: () => {
      try {
        unlinkSync(path);
      } catch {
        // Somebody else has removed it.
      }
      lock.release();
      closeSync(fd);
    },
  };
}

/** A lock that its holder removes at its end, just when it is tried, is tried again. */
function attempt(path: string, more = 10): Lock | undefined {
  try {
    return tryToLock(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || more === 0) throw error;
    return attempt(path, more - 1);
  }
}

/** A lock that is there, and that this user may not open. Without one, the directory takes no file of this user's at all. */
function isNotYours(path: string, error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return (
    ['EACCES', 'EPERM', 'ELOOP', 'EISDIR'].includes(code ?? '') &&
    path !== '' &&
    lstatSync(path, { throwIfNoEntry: false }) !== undefined
  );
}

function inCapitals(verb: string): string {
  return verb.toUpperCase().replace('-', '_');
}
