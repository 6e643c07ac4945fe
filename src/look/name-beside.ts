/** Looks for another name of a file in the directory of a name that it has lost: a link, or the name after rename(2). */
import { lstatSync, opendirSync, readlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The limit of names that a look reads, in all directories together. */
const mostNames = 20_000;

/** The lower 32 bits: sock_diag(7) tells no more of an inode. */
export const cut = (inode: number): number => Number(BigInt.asUintN(32, BigInt(inode)));

/** The directories that a look has read: each once. */
export class NamesBeside {
  readonly #directories = new Map<string, ReadonlyMap<number, readonly string[]>>();
  #left = mostNames;

  /**
   * @param inode of the file, or its lower 32 bits.
   * @returns undefined if the directory has no other name of it, or cannot be read, and behind the limit.
   */
  of(path: string, inode: number): string | undefined {
    return this.#namesIn(dirname(path))
      .get(cut(inode))
      ?.find((name) => name !== basename(path));
  }

  #namesIn(directory: string): ReadonlyMap<number, readonly string[]> {
    const known = this.#directories.get(directory);
    if (known) return known;
    const names = new Map<number, string[]>();
    this.#directories.set(directory, names);
    try {
      const entries = opendirSync(directory);
      try {
        for (; this.#left > 0; this.#left -= 1) {
          const name = entries.readSync()?.name;
          if (name === undefined) break;
          const inode = inodeOf(join(directory, name));
          if (inode === undefined) continue;
          const known = names.get(inode);
          if (known) known.push(name);
          else names.set(inode, [name]);
        }
      } finally {
        entries.closeSync();
      }
    } catch {
      // It cannot be read, or has gone.
    }
    return names;
  }
}

/** Its lower 32 bits; undefined without such a file. */
export function inodeOf(path: string): number | undefined {
  const ino = lstatSync(path, { throwIfNoEntry: false })?.ino;
  return ino === undefined ? undefined : cut(ino);
}

/** True if a process has the root and the mounts of this one, so that its paths are paths here. */
export function sharesPaths(pid: number): boolean {
  try {
    return ['root', 'ns/mnt'].every(
      (link) => readlinkSync(`/proc/${pid}/${link}`) === readlinkSync(`/proc/self/${link}`),
    );
  } catch {
    return false;
  }
}
