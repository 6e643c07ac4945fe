/** Ways to damage a directory of images, each applied to a copy of its own. */
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** A byte of the images that is known in the restored process, too: the second letter of its command line. */
export interface KnownByte {
  readonly file: string;
  readonly offset: number;
}

export interface Damage {
  readonly what: string;
  /** @returns false if the directory has no such image. */
  readonly spoil: (directory: string, byte: KnownByte | undefined) => boolean;
  /** Without a manifest nothing tells. */
  readonly isSilent?: true;
  /** Few directories have such an image, so each that has one is damaged so. */
  readonly isRare?: boolean;
  /** CRIU waits for the rest. */
  readonly hangs?: true;
}

function first(directory: string, pattern: RegExp): string | undefined {
  const name = readdirSync(directory)
    .sort()
    .find((each) => pattern.test(each));
  return name && join(directory, name);
}

function on(
  what: string,
  pattern: RegExp,
  change: (path: string) => void,
  more: Partial<Damage> = {},
): Damage {
  const spoil = (directory: string): boolean => {
    const path = first(directory, pattern);
    if (path !== undefined) change(path);
    return path !== undefined;
  };
  return { what, spoil, ...more };
}

const absent = (path: string): void => rmSync(path);
const cut =
  (bytes: number) =>
  (path: string): void =>
    truncateSync(path, Math.max(0, statSync(path).size - bytes));
const half = (path: string): void => truncateSync(path, statSync(path).size >> 1);
const empty = (path: string): void => truncateSync(path, 0);

function replacedBy(make: (path: string) => void): (path: string) => void {
  return (path) => {
    rmSync(path);
    make(path);
  };
}

/** Images without which a restore cannot be as the dump was. */
const needed = [
  'inventory',
  'pstree',
  'files',
  'core-N',
  'mm-N',
  'ids-N',
  'fs-N',
  'fdinfo-N',
  'pagemap-N',
  'pages-N',
];

function patternOf(kind: string): RegExp {
  return new RegExp(`^${kind.replace('-N', '-\\d+')}\\.img$`);
}

export const intact: Damage = { what: 'none', spoil: () => true };

const damages: readonly Damage[] = [
  ...needed.map((kind) => on(`no ${kind}.img`, patternOf(kind), absent)),
  on('no pagemap-shmem-N.img', patternOf('pagemap-shmem-N'), absent, { isRare: true }),
  on('files.img without its last byte', patternOf('files'), cut(1)),
  on('half of mm-N.img', patternOf('mm-N'), half),
  on('half of pagemap-N.img', patternOf('pagemap-N'), half),
  on('pages-N.img without its last page', patternOf('pages-N'), cut(4096), { hangs: true }),
  on('core-N.img with no bytes', patternOf('core-N'), empty),
  on('pstree.img with no bytes', patternOf('pstree'), empty),
  on(
    'a FIFO in the place of fs-N.img',
    patternOf('fs-N'),
    replacedBy((path) => execFileSync('mkfifo', [path])),
    {
      hangs: true,
    },
  ),
  on(
    'a directory in the place of core-N.img',
    patternOf('core-N'),
    replacedBy((path) => mkdirSync(path)),
  ),
  on(
    'a link to nothing in the place of ids-N.img',
    patternOf('ids-N'),
    replacedBy((path) => symlinkSync('nothing', path)),
  ),
  on('a link to itself, moved, in the place of mm-N.img', patternOf('mm-N'), (path) => {
    renameSync(path, `${path}.moved`);
    symlinkSync(`${path}.moved`, path);
  }),
  on('pstree.img in the place of files.img', patternOf('files'), (path) => {
    writeFileSync(path, readFileSync(join(path, '..', 'pstree.img')));
  }),
  on('a parent that is not there', patternOf('inventory'), (path) =>
    symlinkSync('../before', join(path, '..', 'parent')),
  ),
  {
    what: 'another byte in pages-N.img',
    isSilent: true,
    spoil: (directory, byte) => {
      if (!byte) return false;
      const path = join(directory, byte.file);
      const bytes = readFileSync(path);
      bytes[byte.offset]! ^= 1;
      writeFileSync(path, bytes);
      return true;
    },
  },
];

const known = new Set([...needed, 'pagemap-shmem-N', 'cpuinfo', 'stats-dump', 'stats-restore']);

/** Images of each directory. */
const common = new Set(['cgroup', 'timens-N', 'seccomp']);

/** The images of a directory that no damage above takes away, one of each kind. */
function others(directory: string): Damage[] {
  const kinds = new Set(
    readdirSync(directory)
      .filter((name) => name.endsWith('.img'))
      .map((name) => name.slice(0, -'.img'.length).replace(/-[0-9a-f]+$/, '-N')),
  );
  return [...kinds]
    .filter((kind) => !known.has(kind))
    .sort()
    .map((kind) =>
      on(`no ${kind}.img`, new RegExp(`^${kind.replace('-N', '-[0-9a-f]+')}\\.img$`), absent, {
        isSilent: true,
        isRare: !common.has(kind),
      }),
    );
}

/** Each directory is damaged in a third of all ways; three directories in a row in all that they have images for. */
const turns = 3;

/**
 * @param turn the number of the directory.
 * @returns `more` for a directory that lacks images of the usual ones.
 */
export function damagesOf(
  directory: string,
  turn: number,
): { readonly usual: readonly Damage[]; readonly more: readonly Damage[] } {
  const all = [...damages, ...others(directory)];
  const isUsual = ({ isRare }: Damage, index: number) => isRare || index % turns === turn % turns;
  return {
    usual: [intact, ...all.filter(isUsual)],
    more: all.filter((damage, index) => !isUsual(damage, index)),
  };
}
