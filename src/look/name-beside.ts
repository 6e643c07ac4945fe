/** Looks for another name of a file in the directory of a name that it has lost: a link, or the name after rename(2). */
import { lstatSync, opendirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Larger directories are searched so far. */
const mostNames = 10_000;

/** 32 bits: sock_diag(7) tells no more of an inode. */
export const inodeBits = 0xffff_ffff;

/**
 * @param inode of the file, or its lower 32 bits.
 * @returns undefined if the directory has no such file, cannot be read, or is too large.
 */
export function nameBeside(path: string, inode: number): string | undefined {
  const directory = dirname(path);
  try {
    const entries = opendirSync(directory);
    try {
      for (let seen = 0; seen < mostNames; seen += 1) {
        const name = entries.readSync()?.name;
        if (name === undefined) return undefined;
        if (name !== basename(path) && isFile(join(directory, name), inode)) return name;
      }
    } finally {
      entries.closeSync();
    }
  } catch {
    // It cannot be read.
  }
  return undefined;
}

/** True if this name is that of the file. */
export function isFile(path: string, inode: number): boolean {
  const { ino } = lstatSync(path, { throwIfNoEntry: false }) ?? {};
  return ino !== undefined && ((ino ^ inode) & inodeBits) === 0;
}
