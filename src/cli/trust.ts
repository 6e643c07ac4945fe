/** Whether root may restore from a directory: whoever can write images decides what root's CRIU does with them. */
import { lstatSync, readdirSync, readlinkSync, type Stats, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Group and others. */
const othersMayWrite = 0o022;

/** In a directory of root's with this bit others can rename and remove only what is theirs. */
const sticky = 0o1000;

/** PROC_SUPER_MAGIC of linux/magic.h */
const procfs = 0x9fa0;
/** FUSE_SUPER_MAGIC of linux/magic.h */
const fuse = 0x65735546;

/**
 * @returns a sentence about the first thing that others can write: the directory, an image, or one of those before it, which the
 * link `parent` names; or a directory on the way there, in which they could put something else in its place at any time; or about a link
 * that the kernel follows elsewhere than it says; or about a place that is on a file system of some program. Undefined where there is none.
 * @param typeOf the file system of a path (f_type of statfs(2)).
 */
export function whoElseWrites(
  directory: string,
  typeOf = (path: string): number => statfsSync(path).type,
): string | undefined {
  const seen = new Set<string>();
  for (let current: string | undefined = directory; current !== undefined; ) {
    const { at, through, misled } = walk(current);
    if (misled !== undefined) return misled;
    if (seen.has(at)) return undefined;
    seen.add(at);
    current = undefined;
    for (const path of [...through, at]) {
      if (typeOf(path) === fuse)
        return `${path} is on a FUSE file system, whose owners and modes are what a program says`;
    }
    for (const path of through) {
      const stat = statSync(path);
      if (stat.uid === 0 && (stat.mode & sticky) !== 0) continue;
      const reason = openToOthers(path, stat);
      if (reason !== undefined) return reason;
    }
    for (const path of [at, ...readdirSync(at).map((name) => join(at, name))]) {
      const stat = statSync(path, { throwIfNoEntry: false });
      if (!stat) continue;
      const reason = openToOthers(path, stat);
      if (reason !== undefined) return reason;
      if (path === join(at, 'parent')) current = path;
    }
  }
  return undefined;
}

function openToOthers(path: string, { uid, mode }: Stats): string | undefined {
  if (uid !== 0) return `${path} belongs to uid ${uid}`;
  if ((mode & othersMayWrite) === 0) return undefined;
  return `${path} can be written by others (mode ${(mode & 0o777).toString(8)})`;
}

interface Walk {
  /** Where the path leads. */
  readonly at: string;
  /** Every directory in which one of its names, or of a link's, is looked up. */
  readonly through: ReadonlySet<string>;
  /** Why that is not known, as a sentence. */
  readonly misled?: string;
}

/** As the kernel does, path_resolution(7). */
function walk(path: string): Walk {
  // Here and not below, where a path that leads nowhere would be followed link by link.
  statSync(path);
  const through = new Set<string>();
  const names = (path.startsWith('/') ? path : `${process.cwd()}/${path}`).split('/');
  let at = '/';
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      at = dirname(at);
      continue;
    }
    through.add(at);
    const next = join(at, name);
    if (!lstatSync(next).isSymbolicLink()) {
      at = next;
      continue;
    }
    const target = readlinkSync(next);
    // Such a link leads to what a process has open, which may be in another mount namespace: its name is somebody else's here, and
    // even where it names the same directory, those before it are others there.
    if (target.startsWith('/') && statfsSync(at).type === procfs) {
      return { at, through, misled: `${path} leads through ${next}, which need not lead where it says` };
    }
    if (target.startsWith('/')) at = '/';
    names.unshift(...target.split('/'));
  }
  return { at, through };
}
