/**
 * Decides if root's CRIU may use a directory. A user that can write images decides what root restores. A user that can write to
 * the directory of root's dump decides which files of root's are overwritten, and who reads root's memory.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, type Stats } from 'node:fs';
import { basename, join } from 'node:path';
import { isImage, nameOfCompressed } from '../images/dump-names.ts';
import { native } from '../native/binding.ts';
import { Mounts } from './mounts.ts';
import { follow, MissingError, type Place, writtenByOthers } from './way.ts';

/** CRIU's use of a directory. */
export interface Use {
  /** CRIU reads images there. */
  readonly reads: boolean;
  /** True if CRIU creates a file of this name, or overwrites an existing one. */
  readonly writes: (name: string) => boolean;
  /** Paths, relative to this directory, of directories with earlier images that CRIU reads. */
  readonly before: readonly string[];
}

/** A fault of the directory, as the beginning of a sentence, and the power that it gives to others. */
export interface Finding {
  readonly reason: string;
  /** Others decide about restored or overwritten files; or others have access to written files. */
  readonly decides: 'restored' | 'overwritten' | 'written';
}

/** An open directory (O_RDONLY) that only root controls, and that the caller closes; or the fault. */
export type Trust = { readonly fd: number } | Finding;

const othersMayRead = 0o044;

/** CRIU follows this link to the earlier images (CR_PARENT_LINK of criu/include/image.h). */
export const parentLink = 'parent';

/** CRIU makes it readable by all. Times and counts of pages are no secret. */
const restoreStatistics = 'stats-restore';

const imagesBefore: Use = { reads: true, writes: () => false, before: [parentLink] };

/**
 * Checks a directory that root has named, the way there, and its files. A directory that passes stays safe: only root can change
 * it, and the descriptor refers to the directory that was checked.
 * @throws MissingError, and errors of node:fs, if the directory cannot be opened
 */
export function openTrusted(path: string, use: Use, mounts = new Mounts()): Trust {
  return new Look(mounts).open(path, process.cwd(), use);
}

/** Checks a directory and the directories of its earlier images. */
class Look {
  readonly #mounts: Mounts;
  /** Device and inode of each checked directory: images can name themselves as the earlier images. */
  readonly #seen = new Set<string>();

  constructor(mounts: Mounts) {
    this.#mounts = mounts;
  }

  open(path: string, from: string, use: Use): Trust {
    const way = follow(path, from, this.#mounts);
    if ('reason' in way) return { reason: way.reason, decides: decidedAt(use) };
    let fd: number;
    try {
      fd = openSync(`/proc/self/fd/${way.fd}`, constants.O_RDONLY | constants.O_DIRECTORY);
    } finally {
      closeSync(way.fd);
    }
    let trusted = false;
    try {
      const found = this.#lookInto({ fd, path: way.path }, use);
      trusted = found === undefined;
      return found ?? { fd };
    } finally {
      if (!trusted) closeSync(fd);
    }
  }

  #lookInto(directory: Place, use: Use): Finding | undefined {
    const stat = fstatSync(directory.fd);
    const identity = `${stat.dev}:${stat.ino}`;
    if (this.#seen.has(identity)) return undefined;
    this.#seen.add(identity);
    const reason = writtenByOthers(directory.path, stat);
    if (reason !== undefined) return { reason, decides: decidedAt(use) };
    for (const name of readdirSync(`/proc/self/fd/${directory.fd}`)) {
      const found = this.#lookAt(directory, name, use);
      if (found !== undefined) return found;
    }
    return use.before.reduce<Finding | undefined>(
      (found, path) => found ?? this.#lookBefore(directory, path),
      undefined,
    );
  }

  /** Fails closed: a file that cannot be checked counts as writable by others. */
  #lookAt(directory: Place, name: string, use: Use): Finding | undefined {
    const overwritten = use.writes(name);
    if (!overwritten && !use.reads) return undefined;
    const decides = overwritten ? 'written' : 'restored';
    const path = join(directory.path, name);
    try {
      const reason = overwritten
        ? whatIsOverwritten(directory, name, path)
        : this.#whatIsRead(directory, name, path);
      return reason === undefined ? undefined : { reason, decides };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Root has removed the file during the check; only root could.
      return code === 'ENOENT' ? undefined : { reason: `${path} cannot be looked at (${code})`, decides };
    }
  }

  #whatIsRead({ fd, path: directory }: Place, name: string, path: string): string | undefined {
    const here = `/proc/self/fd/${fd}/${name}`;
    const stat = lstatSync(here);
    if (!stat.isSymbolicLink()) return writtenByOthers(path, stat) ?? openForWriting(here, path, stat);
    const way = this.#followFrom(directory, name);
    if (way === undefined || 'reason' in way) return way?.reason;
    try {
      const at = fstatSync(way.fd);
      return writtenByOthers(way.path, at) ?? openForWriting(`/proc/self/fd/${way.fd}`, way.path, at);
    } finally {
      closeSync(way.fd);
    }
  }

  /** @returns undefined if the path leads nowhere, and only root can change that. */
  #followFrom(directory: string, path: string): Place | { readonly reason: string } | undefined {
    try {
      return follow(path, directory, this.#mounts);
    } catch (error) {
      if (!(error instanceof MissingError)) throw error;
      const { mayAppear } = error;
      return mayAppear === undefined
        ? undefined
        : { reason: `${join(directory, path)} leads nowhere yet, and others can write ${mayAppear}` };
    }
  }

  #lookBefore({ path: directory }: Place, path: string): Finding | undefined {
    try {
      const trust = this.open(path, directory, imagesBefore);
      if (!('fd' in trust)) return trust;
      closeSync(trust.fd);
      return undefined;
    } catch (error) {
      const named = join(directory, path);
      const { code } = error as NodeJS.ErrnoException;
      // CRIU itself reports this.
      if (error instanceof MissingError && error.mayAppear === undefined) return undefined;
      return { reason: `${named} cannot be looked at (${code})`, decides: 'restored' };
    }
  }
}

function decidedAt(use: Use): Finding['decides'] {
  return use.reads ? 'restored' : 'overwritten';
}

/**
 * CRIU truncates an existing file and writes into it, although others may have it open: CRIU follows links, and keeps the owner
 * and the mode.
 */
function whatIsOverwritten({ fd }: Place, name: string, path: string): string | undefined {
  const here = `/proc/self/fd/${fd}/${name}`;
  const stat = lstatSync(here);
  if (stat.isSymbolicLink()) return `${path} is a symbolic link`;
  if (!stat.isFile()) return `${path} is no regular file`;
  const mode = (stat.mode & 0o777).toString(8);
  if (stat.nlink > 1) return `${path} is a file that has ${stat.nlink} names`;
  return (
    writtenByOthers(path, stat) ??
    ((stat.mode & othersMayRead) !== 0 && name !== restoreStatistics
      ? `${path} can be read by others (mode ${mode})`
      : undefined) ??
    (isImage(name) && isOpenElsewhere(here, 'anybody') ? `${path} is open in some process` : undefined)
  );
}

/** A former owner of the file may still have it open. */
function openForWriting(here: string, path: string, stat: Stats): string | undefined {
  const isRead = isImage(path) || nameOfCompressed(basename(path)) !== undefined;
  return stat.isFile() && isRead && isOpenElsewhere(here, 'writer')
    ? `${path} is open for writing in some process`
    : undefined;
}

function isOpenElsewhere(path: string, by: 'writer' | 'anybody'): boolean {
  const fd = native.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    return native.openElsewhere(fd, by);
  } finally {
    fd.close();
  }
}
