/**
 * The terminals in images, and images for another terminal and session. Pure.
 *
 * CRIU can give a tree a terminal whose other end is outside of the images (`orphan_pts_master`) if the session of that terminal
 * begins in the tree. A program that was started in a shell belongs to the shell's session, which stays outside (criu/tty.c,
 * tty_find_restoring_task). So the root of such a tree becomes the leader of a session of its own, as the program of a terminal
 * window. And CRIU opens a terminal under its old number, which another terminal may have by now.
 */
import { join } from 'node:path';
import {
  bytesOf,
  numberOf,
  readFields,
  type WireField,
  withValue,
  writeFields,
} from '../../protocol/fields.ts';
import { entriesOf, fileOf, magic } from './image-file.ts';

/** The content of pstree.img, tty-info.img and files.img. */
export interface TerminalImages {
  readonly pstree: Buffer;
  readonly ttyInfo: Buffer;
  readonly files: Buffer;
}

/** Where and as what terminals are opened again. */
export interface NewTerminals {
  /** The new number of each. */
  readonly numbers: ReadonlyMap<number, number>;
  /** Those that CRIU opens through {@link directory}, by their old numbers. */
  readonly through: ReadonlySet<number>;
  /** A directory with the names of /dev/pts: a number for each terminal, and `ptmx`. */
  readonly directory: string;
  /** Only root can give a terminal back to its owner; the new terminal of a user is the user's. */
  readonly keepsOwner: boolean;
}

/** Numbers of pseudo terminals, as in /dev/pts. */
export interface Terminals {
  /** All of the tree. */
  readonly all: readonly number[];
  /** Those whose master was outside of the tree. */
  readonly outside: readonly number[];
}

/** The fields of images/tty.proto, images/pstree.proto, images/fdinfo.proto and images/regfile.proto of CRIU. */
const info = { id: 1, type: 2, sid: 6, pgrp: 7, rdev: 8, termios: 9, pty: 12, uid: 14, gid: 15 } as const;
const ptyIndex = 1;
const item = { pid: 1, pgid: 3, sid: 4 } as const;
const file = { type: 1, reg: 3, tty: 19 } as const;
const ttyFile = { info: 2, reg: 6 } as const;
const reg = { id: 1, name: 6, mode: 10 } as const;

const typePty = 1;
const typeTty = 11;

/** @returns undefined if the file cannot be read. */
export function terminalsIn(ttyInfo: Buffer): Terminals | undefined {
  const entries = fieldsOf(ttyInfo, magic.ttyInfo);
  if (!entries) return undefined;
  const ends = entries.flatMap((fields) => endOf(fields) ?? []);
  const masters = new Set(ends.filter(({ master }) => master).map(({ index }) => index));
  const outside = ends.filter(({ master, hungUp, index }) => !master && !hungUp && !masters.has(index));
  const unique = (some: typeof ends): number[] => [...new Set(some.map(({ index }) => index))];
  return { all: unique(ends), outside: unique(outside) };
}

/**
 * The numbers for terminals. CRIU reaches a number by opening terminals until it gets that number, at most 32, so the number must
 * be free, and not far above the lowest that is (criu/tty.c, pty_open_ptmx_index).
 * @param taken the numbers in /dev/pts.
 */
export function freeNumbers(
  wanted: readonly number[],
  taken: ReadonlySet<number>,
): ReadonlyMap<number, number> {
  const used = new Set(taken);
  let lowest = 0;
  while (taken.has(lowest)) lowest += 1;
  const isWithinReach = (index: number): boolean =>
    !used.has(index) && index >= lowest && index - lowest < reach;
  const found = new Map<number, number>();
  for (const index of wanted.filter(isWithinReach)) {
    found.set(index, index);
    used.add(index);
  }
  for (const index of wanted.filter((each) => !found.has(each))) {
    // Another terminal that is opened meanwhile gets the lowest number.
    let other = lowest + margin;
    while (used.has(other)) other += 1;
    found.set(index, other);
    used.add(other);
  }
  return found;
}

const reach = 32;
const margin = 4;

/**
 * Images with the same tree, whose root leads the session of its terminal, under other numbers.
 * @returns the pid of the root, too; undefined if they cannot be read.
 */
export function moved(
  images: TerminalImages,
  terminals: NewTerminals,
): (TerminalImages & { readonly root: number }) | undefined {
  const tree = fieldsOf(images.pstree, magic.pstree);
  const infos = fieldsOf(images.ttyInfo, magic.ttyInfo);
  const files = fieldsOf(images.files, magic.files);
  const root = tree?.[0];
  if (!infos || !files || !tree || !root) return undefined;
  const session = new OwnSession(root, tree);
  const { numbers, keepsOwner } = terminals;
  return {
    root: numberOf(root, item.pid) ?? 0,
    pstree: fileOf(
      tree.map((each) => writeFields(session.item(each))),
      magic.pstree,
    ),
    ttyInfo: fileOf(
      infos.map((each) => writeFields(owned(renumbered(session.terminal(each), numbers), keepsOwner))),
      magic.ttyInfo,
    ),
    files: fileOf(movedFiles(files, infos, terminals).map(writeFields), magic.files),
  };
}

/** The session of a tree's root, which begins with the root. */
class OwnSession {
  readonly #root: number;
  readonly #oldSession: number | undefined;
  readonly #oldGroups: ReadonlySet<number | undefined>;
  readonly #groups: ReadonlySet<number | undefined>;

  constructor(root: readonly WireField[], tree: readonly (readonly WireField[])[]) {
    this.#root = numberOf(root, item.pid) ?? 0;
    this.#oldSession = numberOf(root, item.sid);
    // A leader of a session leads a group, too. The group of the old leader has gone with it.
    this.#oldGroups = new Set([numberOf(root, item.pgid), this.#oldSession]);
    this.#groups = new Set(tree.map((each) => numberOf(each, item.pgid)));
  }

  item(fields: readonly WireField[]): readonly WireField[] {
    return this.#with(this.#with(fields, item.sid, this.#isOld), item.pgid, (group) =>
      this.#oldGroups.has(group),
    );
  }

  terminal(fields: readonly WireField[]): readonly WireField[] {
    if (!this.#isOld(numberOf(fields, info.sid))) return fields;
    // The foreground group may be that of the shell, which is not in the tree.
    return this.#with(
      this.#with(fields, info.sid, this.#isOld),
      info.pgrp,
      (group) => this.#oldGroups.has(group) || !this.#groups.has(group),
    );
  }

  readonly #isOld = (session: number | undefined): boolean => session === this.#oldSession;

  #with(
    fields: readonly WireField[],
    number: number,
    applies: (value: number | undefined) => boolean,
  ): readonly WireField[] {
    return applies(numberOf(fields, number)) ? withValue(fields, number, this.#root) : fields;
  }
}

/** One end of a pseudo terminal. */
function endOf(
  fields: readonly WireField[],
):
  | { readonly id: number; readonly index: number; readonly master: boolean; readonly hungUp: boolean }
  | undefined {
  const pty = bytesOf(fields, info.pty);
  const id = numberOf(fields, info.id);
  if (numberOf(fields, info.type) !== typePty || !pty || id === undefined) return undefined;
  const index = numberOf(readFields(pty), ptyIndex);
  if (index === undefined) return undefined;
  // CRIU forms the id of the number and the end (tty_gen_id).
  return { id, index, master: id % 2 === 1, hungUp: bytesOf(fields, info.termios) === undefined };
}

function renumbered(
  fields: readonly WireField[],
  numbers: ReadonlyMap<number, number>,
): readonly WireField[] {
  const end = endOf(fields);
  const index = end && numbers.get(end.index);
  if (index === undefined || index === end!.index) return fields;
  const pty = writeFields(withValue(readFields(bytesOf(fields, info.pty)!), ptyIndex, index));
  const device = end!.master ? numberOf(fields, info.rdev)! : deviceOf(index);
  return withValue(
    withValue(withValue(fields, info.id, idOf(index, end!.master)), info.rdev, device),
    info.pty,
    pty,
  );
}

function owned(fields: readonly WireField[], keepsOwner: boolean): readonly WireField[] {
  if (keepsOwner || !endOf(fields)) return fields;
  return fields.filter(({ number }) => number !== info.uid && number !== info.gid);
}

function idOf(index: number, master: boolean): number {
  return index * 2 + (master ? 1 : 0);
}

/** The device of /dev/pts/INDEX as makedev(3) numbers it; its major number is 136. */
function deviceOf(index: number): number {
  return (136 << 8) | (index & 0xff) | ((index & ~0xff) << 12);
}

/** The open files of the terminals, and the paths that they were opened by. */
function movedFiles(
  files: readonly WireField[][],
  infos: readonly WireField[][],
  { numbers, through, directory }: NewTerminals,
): readonly (readonly WireField[])[] {
  const ends = new Map(infos.flatMap((fields) => endOf(fields) ?? []).map((end) => [end.id, end]));
  /** The old and the new number of the terminal that a path leads to, by the path's id. */
  const paths = new Map<number, { readonly old: number; readonly index: number }>();
  const changed = files.map((fields) => {
    const tty = bytesOf(fields, file.tty);
    if (numberOf(fields, file.type) !== typeTty || !tty) return fields;
    const open = readFields(tty);
    const end = ends.get(numberOf(open, ttyFile.info) ?? -1);
    const index = end && numbers.get(end.index);
    if (index === undefined) return fields;
    const path = numberOf(open, ttyFile.reg);
    if (!end!.master && path !== undefined) paths.set(path, { old: end!.index, index });
    return withValue(fields, file.tty, writeFields(withValue(open, ttyFile.info, idOf(index, end!.master))));
  });
  return changed.map((fields) => {
    const regular = bytesOf(fields, file.reg);
    const opened = regular && readFields(regular);
    const found = opened && paths.get(numberOf(opened, reg.id) ?? -1);
    if (!found) return fields;
    const name = Buffer.from(bytesOf(opened!, reg.name) ?? []).toString('latin1');
    const other = through.has(found.old)
      ? Buffer.from(join(directory, `${found.index}`))
      : Buffer.from(name.replace(/[0-9]+$/, `${found.index}`), 'latin1');
    const renamed = withValue(opened!, reg.name, /[0-9]$/.test(name) ? other : Buffer.from(name, 'latin1'));
    // mesg(1) changes the mode of a terminal, and CRIU compares it.
    return withValue(fields, file.reg, writeFields(renamed.filter(({ number }) => number !== reg.mode)));
  });
}

function fieldsOf(image: Buffer, kind: number): WireField[][] | undefined {
  try {
    return entriesOf(image, kind)?.map(readFields);
  } catch {
    return undefined;
  }
}
