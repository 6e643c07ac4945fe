/** Reads the mappings of a process, as far as they decide about a dump. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type NamesBeside, sharesPaths } from './name-beside.ts';
import type { Thing } from './things.ts';

/** Files of the kernel alone, which look like deleted files. */
const ofKernel = /^\/(memfd:|dev\/zero |anon_hugepage |\[aio\] |i915 |SYSV)/;
const deleted = / \(deleted\)$/;

/** @throws an error of node:fs if the process may not be read. */
export function readMappings(pid: number, names: NamesBeside): Thing[] {
  const isHere = sharesPaths(pid);
  const hasOther = (path: string, inode: number): boolean => isHere && names.of(path, inode) !== undefined;
  return parseMappings(readFileSync(`/proc/${pid}/maps`, 'utf8'), mayCreateBeside, mayOpen, hasOther);
}

/**
 * @param text proc_pid_maps(5).
 * @param writable tells if the looking user may create files beside a path.
 * @param openable tells if the looking user may open a path.
 * @param hasOther tells if a file that has lost a path has another name.
 */
export function parseMappings(
  text: string,
  writable: (path: string) => boolean,
  openable: MayOpen = () => true,
  hasOther: (path: string, inode: number) => boolean = () => false,
): Thing[] {
  const ends = new Map<string, number>();
  const things = new Map<string, Thing>();
  for (const line of text.split('\n')) {
    const [, from, to, mode = '', offset, inode, path] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ (\d+) +(\/.*)$/.exec(line) ?? [];
    if (path === undefined) continue;
    if (path.startsWith('/SYSV')) {
      things.set(path, { kind: 'system-v-memory', key: path.slice('/SYSV'.length).replace(deleted, '') });
    } else if (/^\/dev\/(?!shm\/|hugepages\/|zero\b)/.test(path)) {
      things.set(path, { kind: 'mapped-device', path });
    } else if (deleted.test(path) && !ofKernel.test(path)) {
      const end = Number.parseInt(offset!, 16) + Number.parseInt(to!, 16) - Number.parseInt(from!, 16);
      const size = Math.max(end, ends.get(path) ?? 0);
      ends.set(path, size);
      const name = path.replace(deleted, '');
      const links = hasOther(name, Number(inode)) ? 1 : 0;
      things.set(path, { kind: 'deleted', path: name, size, links, writable: writable(name), mapped: true });
    } else if (!ofKernel.test(path)) {
      // A private mapping needs a file that can be read, a shared writable one a file that can be written, too.
      const uses = mode.endsWith('s') && mode[1] === 'w' ? (['read', 'write'] as const) : (['read'] as const);
      const denied = uses.find((use) => !openable(path, use));
      if (denied) things.set(path, { kind: 'not-openable', path, use: denied });
    }
  }
  return [...things.values()];
}

export type MayOpen = (path: string, use: 'read' | 'write') => boolean;

/** False if the looking user has no permission. Another failure is not a question of permission. */
export const mayOpen: MayOpen = (path, use) => {
  try {
    accessSync(path, use === 'read' ? constants.R_OK : constants.W_OK);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EACCES';
  }
};

/** True if the caller may create a file in the directory of this path, or in the nearest directory above it that exists. */
export function mayCreateBeside(path: string): boolean {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    try {
      accessSync(directory, constants.W_OK | constants.X_OK);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || directory === dirname(directory))
        return false;
    }
  }
}
