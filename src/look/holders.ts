/** Finds the processes outside of a tree that hold the other ends of its files. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { statOf } from '../proc/stat.ts';
import { sanitize } from '../systemd/log.ts';
import { accessOf, parseInfo } from './descriptors.ts';
import type { Holder } from './things.ts';

export interface Holders {
  /** The holders of a link, for example `socket:[123]`; only those that read it, or write it, if that is asked. */
  of(link: string, use?: 'read' | 'write'): readonly Holder[];
  /** Masters of pseudo terminals, by the number of the terminal. */
  ofTerminal(number: number): readonly Holder[];
  /** A process that the tree has started since it was read has the link, and uses it so. */
  isInside(link: string, use?: 'read' | 'write'): boolean;
  /** Some processes could not be read. */
  readonly isPartial: boolean;
}

const master = /^\/dev\/(?:pts\/)?ptmx$/;

/** What is found where no link matters. */
export const noHolders: Holders = {
  of: () => [],
  ofTerminal: () => [],
  isInside: () => false,
  isPartial: false,
};

type ByLink = Map<string, Map<number, Use>>;

/**
 * Looks at every process that may be read.
 * @param wanted links that matter.
 * @param tree the processes of the tree, as far as they were there when it was read.
 */
export function findHolders(wanted: ReadonlySet<string>, tree: ReadonlySet<number>): Holders {
  const outside: ByLink = new Map();
  const inside: ByLink = new Map();
  let isPartial = false;
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || tree.has(pid) || pid === process.pid) continue;
    try {
      for (const [fd, link] of linksOf(pid)) {
        const key = master.test(link) ? keyOfMaster(pid, fd) : link;
        if (key !== undefined && wanted.has(key))
          add(descends(pid, tree) ? inside : outside, key, pid, usedBy(pid, fd));
      }
    } catch (error) {
      // A process that has ended holds nothing.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ESRCH') isPartial = true;
    }
  }
  const having = (byLink: ByLink, link: string, use?: 'read' | 'write'): number[] =>
    [...(byLink.get(link) ?? [])].filter(([, uses]) => use === undefined || uses[use]).map(([pid]) => pid);
  const of = (link: string, use?: 'read' | 'write'): readonly Holder[] =>
    having(outside, link, use).map((pid) => ({ pid, name: nameOf(pid) }));
  return {
    of,
    ofTerminal: (number) => of(keyOfTerminal(number)),
    isInside: (link, use) => having(inside, link, use).length > 0,
    isPartial,
  };
}

/** True if the process has an ancestor in the tree. */
function descends(pid: number, tree: ReadonlySet<number>): boolean {
  for (let above = statOf(pid)?.parent; above !== undefined && above > 1; above = statOf(above)?.parent) {
    if (tree.has(above)) return true;
  }
  return false;
}

/** The ways in which a process uses a file. */
interface Use {
  readonly read: boolean;
  readonly write: boolean;
}

function usedBy(pid: number, fd: string): Use {
  const { reads, writes } = accessOf({
    info: parseInfo(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1')),
  });
  return { read: reads, write: writes };
}

/** The key of a terminal's master among the wanted links. */
export function keyOfTerminal(number: number): string {
  return `tty-index:${number}`;
}

function keyOfMaster(pid: number, fd: string): string | undefined {
  const [, number] = /^tty-index:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1')) ?? [];
  return number === undefined ? undefined : keyOfTerminal(Number(number));
}

function* linksOf(pid: number): Generator<[string, string]> {
  const directory = `/proc/${pid}/fd`;
  for (const fd of readdirSync(directory)) {
    let link: string;
    try {
      link = readlinkSync(`${directory}/${fd}`);
    } catch {
      // It was closed meanwhile.
      continue;
    }
    yield [fd, link];
  }
}

function add(byLink: ByLink, key: string, pid: number, use: Use): void {
  const known = byLink.get(key) ?? new Map<number, Use>();
  const before = known.get(pid);
  known.set(pid, { read: use.read || before?.read === true, write: use.write || before?.write === true });
  byLink.set(key, known);
}

export function nameOf(pid: number): string {
  try {
    return sanitize(readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd());
  } catch {
    return 'a process';
  }
}
