/**
 * Follows the way to a file step by step, as the kernel does, path_resolution(7), and tells if other users could lead it
 * elsewhere.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync, type Stats } from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import type { Mounts } from './mounts.ts';

/** From asm-generic/fcntl.h; node:fs does not have it. */
const O_PATH = 0o10000000;

/** Group and others. */
const othersMayWrite = 0o022;

/** In a directory of root's with this bit, others can rename and remove only their own files. */
const sticky = 0o1000;

/** MAXSYMLINKS of the kernel's namei.h */
const mostLinks = 40;

/**
 * The end of a path, open as a place (O_PATH) that the caller closes; or a sentence about others that could lead the path
 * elsewhere.
 */
export type Way = Place | { readonly reason: string };

/** A place on the way, or at its end. */
export interface Place {
  readonly fd: number;
  /** Without links. */
  readonly path: string;
}

/** The path leads to a missing file. */
export class MissingError extends Error {
  override readonly name = 'MissingError';
  readonly code = 'ENOENT';
  readonly errno = os.errno.ENOENT;
  /** The directory where others could create the missing file. */
  readonly mayAppear: string | undefined;

  constructor(mayAppear: string | undefined) {
    super('ENOENT: no such file or directory');
    this.mayAppear = mayAppear;
  }
}

class TooManyLinksError extends Error {
  override readonly name = 'TooManyLinksError';
  readonly code = 'ELOOP';
  readonly errno = os.errno.ELOOP;

  constructor() {
    super('ELOOP: too many symbolic links encountered');
  }
}

/**
 * Each name is looked up in an open directory that was checked. If the directory is root's, and only root can write it, its names
 * keep their meaning. In a sticky directory of root's, the same holds for names of root's files.
 * @param from the absolute path where a relative path begins.
 * @throws MissingError, and errors of node:fs
 */
export function follow(path: string, from: string, mounts: Mounts): Way {
  const held: Place[] = [{ fd: openSync('/', O_PATH), path: '/' }];
  const names = (path.startsWith('/') ? path : `${from}/${path}`).split('/');
  let links = 0;
  try {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      if (name === '' || name === '.') continue;
      const here = held.at(-1)!;
      const reason = decidedByOthers(here);
      if (reason !== undefined) return { reason };
      if (name === '..') {
        if (held.length > 1) closeSync(held.pop()!.fd);
        continue;
      }
      const next = { fd: step(here, name), path: join(here.path, name) };
      held.push(next);
      // Check the mount before any other access: a program that serves a file system may never answer.
      const brought = mounts.broughtByOthers(next.fd);
      if (brought !== undefined) return { reason: `${next.path} ${brought}` };
      const stat = fstatSync(next.fd);
      if (!stat.isSymbolicLink()) continue;
      closeSync(held.pop()!.fd);
      // In a sticky directory, the owner of a link could replace it.
      if (stat.uid !== 0 && isOpenToOthers(fstatSync(here.fd)))
        return { reason: `${next.path} belongs to uid ${stat.uid}` };
      const target = readlinkSync(`/proc/self/fd/${here.fd}/${name}`);
      // Such a link leads to an open file of a process, which may be in another mount namespace. There, its path may mean another
      // file than here. Even if the path names the same directory here, the parent directories may differ.
      if (target.startsWith('/') && mounts.of(here.fd)?.type === 'proc')
        return { reason: `${path} leads through ${next.path}, which need not lead where it says` };
      links += 1;
      if (links > mostLinks) throw new TooManyLinksError();
      if (target.startsWith('/')) for (const { fd } of held.splice(1)) closeSync(fd);
      names.unshift(...target.split('/'));
    }
    return held.pop()!;
  } finally {
    for (const { fd } of held) closeSync(fd);
  }
}

/**
 * @returns a sentence if others decide about the files in this directory: about all, or in a sticky directory about their own.
 */
export function decidedByOthers({ fd, path }: Place): string | undefined {
  const stat = fstatSync(fd);
  return stat.uid === 0 && (stat.mode & sticky) !== 0 ? undefined : writtenByOthers(path, stat);
}

/** @returns a sentence if others can write the file. */
export function writtenByOthers(path: string, stat: Stats): string | undefined {
  if (stat.uid !== 0) return `${path} belongs to uid ${stat.uid}`;
  return isOpenToOthers(stat)
    ? `${path} can be written by others (mode ${(stat.mode & 0o777).toString(8)})`
    : undefined;
}

function isOpenToOthers({ mode }: Stats): boolean {
  return (mode & othersMayWrite) !== 0;
}

/** Follows no link. O_DIRECTORY triggers automounts. */
function step({ fd, path }: Place, name: string): number {
  const next = `/proc/self/fd/${fd}/${name}`;
  const flags = O_PATH | constants.O_NOFOLLOW;
  try {
    return openSync(next, flags | constants.O_DIRECTORY);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new MissingError(isOpenToOthers(fstatSync(fd)) ? path : undefined);
    if (code !== 'ENOTDIR') throw error;
    return openSync(next, flags);
  }
}
