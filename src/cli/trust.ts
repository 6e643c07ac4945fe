/**
 * Whether root's CRIU may use a directory. Whoever can write images decides what root restores; whoever can write where root dumps
 * decides which files of root's are written over, and who reads what is in root's memory.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { native } from '../native/binding.ts';
import { Mounts } from './mounts.ts';
import { follow, MissingError, type Place, writtenByOthers } from './way.ts';

/** What CRIU does in a directory. */
export interface Use {
  /** It reads images there. */
  readonly reads: boolean;
  /** Whether it makes a file of this name, over one that is there. */
  readonly writes: (name: string) => boolean;
  /** Directories of images before these, which it reads: paths that begin there. */
  readonly before: readonly string[];
}

/** What was found, as the beginning of a sentence, and what others have of it. */
export interface Finding {
  readonly reason: string;
  /** They decide what is restored, or what is written over; or they have something of what is written. */
  readonly decides: 'restored' | 'overwritten' | 'written';
}

/** A directory that is root's alone, open (O_RDONLY) for whoever asked, who closes it; or what was found. */
export type Trust = { readonly fd: number } | Finding;

const othersMayRead = 0o044;

/** CRIU follows it to the images before (CR_PARENT_LINK of criu/include/image.h). */
export const parentLink = 'parent';

const imagesBefore: Use = { reads: true, writes: () => false, before: [parentLink] };

/** All that CRIU reads and writes as images has such a name (criu/image-desc.c). */
export function isImage(name: string): boolean {
  return name.endsWith('.img');
}

/**
 * Looks at a directory that root has named, at the way there, and at what is in it. What has passed stays as it is: nobody but root can
 * change anything there, and the descriptor is that of what was looked at.
 * @throws MissingError, and what node:fs throws, where the directory cannot be opened
 */
export function openTrusted(path: string, use: Use, mounts = new Mounts()): Trust {
  return new Look(mounts).open(path, process.cwd(), use);
}

/** One look, at a directory and at those of the images before. */
class Look {
  readonly #mounts: Mounts;
  /** By device and inode: images can name themselves as those before. */
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

  /** What cannot be looked at counts as what others can write. */
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
      // Root itself has removed it meanwhile: nobody else can.
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

  /** @returns undefined for what leads nowhere, and can lead nowhere but where root lets it. */
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
      // CRIU says so itself.
      if (error instanceof MissingError && error.mayAppear === undefined) return undefined;
      return { reason: `${named} cannot be looked at (${code})`, decides: 'restored' };
    }
  }
}

function decidedAt(use: Use): Finding['decides'] {
  return use.reads ? 'restored' : 'overwritten';
}

/** CRIU empties what is there and writes into it, whoever else has it: it follows links, and leaves the owner and the mode. */
function whatIsOverwritten({ fd }: Place, name: string, path: string): string | undefined {
  const here = `/proc/self/fd/${fd}/${name}`;
  const stat = lstatSync(here);
  if (stat.isSymbolicLink()) return `${path} is a symbolic link`;
  if (!stat.isFile()) return `${path} is no regular file`;
  const mode = (stat.mode & 0o777).toString(8);
  if (stat.nlink > 1) return `${path} is a file that has ${stat.nlink} names`;
  return (
    writtenByOthers(path, stat) ??
    ((stat.mode & othersMayRead) !== 0 ? `${path} can be read by others (mode ${mode})` : undefined) ??
    (isImage(name) && isOpenElsewhere(here, 'anybody') ? `${path} is open in some process` : undefined)
  );
}

/** Somebody may have opened it when it was theirs. */
function openForWriting(here: string, path: string, stat: Stats): string | undefined {
  return stat.isFile() && isImage(path) && isOpenElsewhere(here, 'writer')
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
