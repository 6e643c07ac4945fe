/** The way to a file, looked at step by step as the kernel goes it, path_resolution(7): where it leads, and who else decides that. */
import { closeSync, constants, fstatSync, openSync, readlinkSync, type Stats } from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import type { Mounts } from './mounts.ts';

/** Of asm-generic/fcntl.h; node:fs does not have it. */
const O_PATH = 0o10000000;

/** Group and others. */
const othersMayWrite = 0o022;

/** In a directory of root's with this bit others can rename and remove only what is theirs. */
const sticky = 0o1000;

/** MAXSYMLINKS of the kernel's namei.h */
const mostLinks = 40;

/** What a path leads to, open as a place (O_PATH) that whoever has it closes; or a sentence about whoever else may lead it elsewhere. */
export type Way = Place | { readonly reason: string };

/** A place on the way, or at its end. */
export interface Place {
  readonly fd: number;
  /** By no links. */
  readonly path: string;
}

/** There is nothing by that name. */
export class MissingError extends Error {
  override readonly name = 'MissingError';
  readonly code = 'ENOENT';
  readonly errno = os.errno.ENOENT;
  /** The directory lets others make something by that name. */
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
 * Each name is looked up in a directory that is open and has been looked at. In one of root's that only root can write, or that is sticky
 * and has something of root's by that name, a name stays what it is, and so does where the way leads.
 * @param from where a relative path begins, an absolute path.
 * @throws MissingError, and what node:fs throws
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
      // Before anything else: a program that serves a file system need not answer.
      const brought = mounts.broughtByOthers(next.fd);
      if (brought !== undefined) return { reason: `${next.path} ${brought}` };
      const stat = fstatSync(next.fd);
      if (!stat.isSymbolicLink()) continue;
      closeSync(held.pop()!.fd);
      // In a sticky directory they could replace a link of theirs.
      if (stat.uid !== 0 && isOpenToOthers(fstatSync(here.fd)))
        return { reason: `${next.path} belongs to uid ${stat.uid}` };
      const target = readlinkSync(`/proc/self/fd/${here.fd}/${name}`);
      // Such a link leads to what a process has open, which may be in another mount namespace: its name is somebody else's here, and
      // even where it names the same directory, those before it are others there.
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

/** @returns a sentence, where others decide what is found in this directory: all of it, or, where it is sticky, what is theirs. */
export function decidedByOthers({ fd, path }: Place): string | undefined {
  const stat = fstatSync(fd);
  return stat.uid === 0 && (stat.mode & sticky) !== 0 ? undefined : writtenByOthers(path, stat);
}

/** @returns a sentence, where others may write this. */
export function writtenByOthers(path: string, stat: Stats): string | undefined {
  if (stat.uid !== 0) return `${path} belongs to uid ${stat.uid}`;
  return isOpenToOthers(stat)
    ? `${path} can be written by others (mode ${(stat.mode & 0o777).toString(8)})`
    : undefined;
}

function isOpenToOthers({ mode }: Stats): boolean {
  return (mode & othersMayWrite) !== 0;
}

/** Follows no link. O_DIRECTORY has what is mounted on demand mounted. */
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
