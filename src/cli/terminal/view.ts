/**
 * A directory that shows images for another terminal: its own versions of three files, and links to all others. The images
 * themselves stay as they are.
 */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Places } from '../directories.ts';
import { freeNumbers, moved, type Terminals, terminalsIn } from './images.ts';

const rewritten = { pstree: 'pstree.img', ttyInfo: 'tty-info.img', files: 'files.img' } as const;

/** A tree with a mount namespace of its own has its own /dev/pts, whose numbers are free. */
const ownMounts = /^mountpoints-\d+\.img$/;

/** The terminals of a tree. Undefined if it has none, and if the images cannot be read: CRIU then reports the reason. */
export function terminalsOf(images: string): Terminals | undefined {
  try {
    return terminalsIn(readFileSync(join(images, rewritten.ttyInfo)));
  } catch {
    return undefined;
  }
}

export interface View {
  readonly path: string;
  remove(): void;
}

/**
 * @returns undefined if the images cannot be read.
 * @throws errors of node:fs if the work directory cannot be written; CRIU could not write its log either.
 */
export function viewOf({ images, work }: Places, terminals: Terminals): View | undefined {
  const source = realpathSync(images);
  const read = (name: string): Buffer => readFileSync(join(source, name));
  const names = readdirSync(source);
  const numbers = names.some((name) => ownMounts.test(name))
    ? new Map(terminals.all.map((index) => [index, index]))
    : freeNumbers(terminals.all, takenNumbers());
  const images_ = {
    pstree: read(rewritten.pstree),
    ttyInfo: read(rewritten.ttyInfo),
    files: read(rewritten.files),
  };
  const changed = moved(images_, numbers, process.geteuid?.() === 0);
  if (!changed) return undefined;
  const path = mkdtempSync(join(realpathSync(work), '.criuctl-terminal-'));
  const remove = (): void => rmSync(path, { recursive: true, force: true });
  try {
    const own: readonly string[] = Object.values(rewritten);
    for (const name of names) {
      if (own.includes(name)) continue;
      if (name.endsWith('.img') || name === 'parent') symlinkSync(join(source, name), join(path, name));
    }
    for (const [key, name] of Object.entries(rewritten)) {
      writeFileSync(join(path, name), changed[key as keyof typeof changed], { flag: 'wx', mode: 0o600 });
    }
    return { path, remove };
  } catch (error) {
    remove();
    throw error;
  }
}

function takenNumbers(): ReadonlySet<number> {
  return new Set(
    readdirSync('/dev/pts')
      .filter((name) => /^\d+$/.test(name))
      .map(Number),
  );
}
