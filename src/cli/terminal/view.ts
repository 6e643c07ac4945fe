/** A directory that shows images for another terminal. */
import { accessSync, constants, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Places } from '../directories.ts';
import { ImageView } from '../image-view.ts';
import {
  freeNumbers,
  moved,
  type NewTerminals,
  type TerminalImages,
  type Terminals,
  terminalsIn,
} from './images.ts';

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
  /** The pid of the tree's root. */
  readonly root: number;
  remove(): void;
}

/**
 * @returns undefined if the images cannot be read.
 * @throws as ImageView.make()
 */
export function viewOf({ images, work }: Places, terminals: Terminals): View | undefined {
  const read = (name: string): Buffer => readFileSync(join(images, name));
  const original = {
    pstree: read(rewritten.pstree),
    ttyInfo: read(rewritten.ttyInfo),
    files: read(rewritten.files),
  };
  const { numbers, through } = readdirSync(images).some((name) => ownMounts.test(name))
    ? { numbers: new Map(terminals.all.map((index) => [index, index])), through: new Set<number>() }
    : here(terminals);
  const keepsOwner = process.geteuid?.() === 0;
  let root = 0;
  const view = ImageView.make(images, work, (directory) => {
    const changed = moved(original, { numbers, through, directory, keepsOwner });
    if (!changed) return undefined;
    root = changed.root;
    symlinkSync(devices.master, join(directory, 'ptmx'));
    for (const old of through) {
      const number = `${numbers.get(old)}`;
      symlinkSync(join(devices.slaves, number), join(directory, number));
    }
    return new Map(
      Object.entries(rewritten).map(([key, name]) => [name, changed[key as keyof TerminalImages]]),
    );
  });
  return view && { path: view.path, root, remove: () => view.remove() };
}

const devices = { master: '/dev/ptmx', slaves: '/dev/pts' } as const;

/**
 * The terminals in this mount namespace. CRIU opens the other end of a terminal as `ptmx` in the same directory (criu/tty.c,
 * pty_alloc_fake_reg). On most machines only root may open that one, and all users /dev/ptmx.
 */
function here({ all, outside }: Terminals): Pick<NewTerminals, 'numbers' | 'through'> {
  return {
    numbers: freeNumbers(all, takenNumbers()),
    through: new Set(mayOpen(join(devices.slaves, 'ptmx')) ? [] : outside),
  };
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function takenNumbers(): ReadonlySet<number> {
  return new Set(
    readdirSync('/dev/pts')
      .filter((name) => /^\d+$/.test(name))
      .map(Number),
  );
}
