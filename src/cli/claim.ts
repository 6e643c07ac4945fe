/**
 * A directory that a criuctl dumps into is its own until the dump has ended: another dump there would mix the images of both. The same holds
 * where a criuctl compresses or expands images.
 */
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { lockName } from '../images/dump-names.ts';
import { type Lock, tryToLock } from '../job/lock.ts';
import { exitCodes } from './exit-codes.ts';
import { Obstacle } from './invocation.ts';

/**
 * The kernel lets it go with this process, however that ends.
 * @param shown the directory, as its user has named it.
 * @throws Obstacle if another criuctl dumps into the directory, or compresses or expands its images.
 */
export function claim(directory: string, verb: string, shown = directory): Lock {
  let fd: number | undefined;
  let lock: Lock | undefined;
  let path = '';
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    // The directory may move, or be exchanged with another.
    path = `/proc/self/fd/${fd}/${lockName}`;
    lock = tryToLock(path);
  } catch {
    // A directory that takes no file takes no image: the client says why. A file system without locks has no claims.
    if (fd !== undefined) closeSync(fd);
    return { release: () => {} };
  }
  if (!lock) {
    closeSync(fd);
    throw new Obstacle(
      exitCodes.refused,
      `${verb.toUpperCase().replace('-', '_')} refused: another criuctl dumps into ${shown}, or compresses it, right now`,
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
