/** Finds the file to which a Unix socket is bound. */
import { lstatSync } from 'node:fs';
import { isFile, nameBeside } from './name-beside.ts';
import type { SocketFile } from './things.ts';

/**
 * @param root of the process.
 * @param inode the lower 32 bits.
 * @returns `there` if it cannot be read.
 */
export function socketFile(root: string, name: string, inode: number): SocketFile {
  const path = root + name;
  try {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'gone';
    if (isFile(path, inode)) return 'there';
    const uid = process.geteuid!();
    if (uid !== 0 && uid !== stats.uid) return 'foreign';
    // An overlay may tell another inode than the socket has; then no other name is found.
    return nameBeside(path, inode) === undefined ? 'there' : 'moved';
  } catch {
    return 'there';
  }
}
