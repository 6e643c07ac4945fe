/** Detects directories of root's requests that others can write. The record says so; root may have reasons to use them. */
import { native, type OwnedFd } from '../../native/binding.ts';

/** Group and others. */
const othersMayWrite = 0o022;

/**
 * Reads the owner and mode of the open directory only: neither its path nor its file system is asked, so this does not block.
 * @returns the predicate of a sentence about the directory; undefined if only root can write it.
 */
export function writtenByOthers(directory: OwnedFd): string | undefined {
  try {
    const { uid, mode } = native.ownership(directory);
    if (uid !== 0) return `belongs to uid ${uid}`;
    return (mode & othersMayWrite) === 0
      ? undefined
      : `can be written by others (mode ${(mode & 0o777).toString(8)})`;
  } catch {
    // For example, the FUSE file system of a user, which refuses root.
    return 'cannot be looked at';
  }
}
