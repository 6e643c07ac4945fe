/** Whether others can write a directory that root's CRIU is to use. Only the record says so: a program that is root may have its reasons. */
import { native, type OwnedFd } from '../../native/binding.ts';

/** Group and others. */
const othersMayWrite = 0o022;

/**
 * The way there is not looked at, and the file system is asked nothing, so that nobody waits.
 * @returns what continues a sentence about the directory.
 */
export function writtenByOthers(directory: OwnedFd): string | undefined {
  try {
    const { uid, mode } = native.ownership(directory);
    if (uid !== 0) return `belongs to uid ${uid}`;
    return (mode & othersMayWrite) === 0
      ? undefined
      : `can be written by others (mode ${(mode & 0o777).toString(8)})`;
  } catch {
    // A FUSE of a user's that does not let root look.
    return 'cannot be looked at';
  }
}
