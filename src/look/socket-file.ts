/** Finds the file to which a Unix socket is bound. */
import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { cut, inodeOf, type NamesBeside } from './name-beside.ts';
import type { SocketFile } from './things.ts';

/** The kernel's mark of a path whose file was removed. */
const removed = ' (deleted)';

/**
 * @param inode its lower 32 bits.
 * @param pathNow of the socket's file, as CRIU as root learns it: what was removed is restored whatever has its name.
 * @returns `there` if it cannot be read.
 */
export function socketFile(
  path: string,
  inode: number,
  names: NamesBeside,
  pathNow: () => string | undefined,
): SocketFile {
  // A name that is not UTF-8 comes changed.
  if (path.includes('\ufffd')) return 'there';
  try {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'gone';
    if (inodeOf(path) === cut(inode)) return 'there';
    const uid = process.geteuid!();
    if (uid !== 0 && uid !== stats.uid) return 'foreign';
    const now = pathNow();
    if (now !== undefined) return now === withoutLinks(path) || now.endsWith(removed) ? 'there' : 'moved';
    // An overlay may tell another inode than the socket has; then no other name is found.
    return names.of(path, inode) === undefined ? 'there' : 'moved';
  } catch {
    return 'there';
  }
}

/** A directory on the way may be a link. */
function withoutLinks(path: string): string {
  return join(realpathSync(dirname(path)), basename(path));
}
