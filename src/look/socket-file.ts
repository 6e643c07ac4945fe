/** Finds the file to which a Unix socket is bound. */
import { lstatSync } from 'node:fs';
import { cut, inodeOf, type NamesBeside } from './name-beside.ts';
import type { SocketFile } from './things.ts';

/**
 * @param inode its lower 32 bits.
 * @returns `there` if it cannot be read.
 */
export function socketFile(path: string, inode: number, names: NamesBeside): SocketFile {
  // A name that is not UTF-8 comes changed.
  if (path.includes('\ufffd')) return 'there';
  try {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'gone';
    if (inodeOf(path) === cut(inode)) return 'there';
    const uid = process.geteuid!();
    if (uid !== 0 && uid !== stats.uid) return 'foreign';
    // An overlay may tell another inode than the socket has; then no other name is found.
    return names.of(path, inode) === undefined ? 'there' : 'moved';
  } catch {
    return 'there';
  }
}
