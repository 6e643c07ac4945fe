/**
 * Puts files back to what they were at a dump, with what came after kept beside them. In a bundle of its own: only
 * `criuctl restore --restore-files` needs it.
 */
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { native, type OwnedFd } from '../../native/binding.ts';
import { type Judgement, judgeFile, type WrittenFile, writtenFiles } from './written-files.ts';

/** A file that is as it was at the dump again. */
export interface PutBack {
  readonly path: string;
  /** Where the bytes are that came after. */
  readonly kept: string;
  readonly bytes: number;
}

export type Plan =
  | { readonly is: 'refused'; readonly sentences: readonly string[] }
  | {
      readonly is: 'plan';
      carryOut(): readonly PutBack[];
      undo(): readonly string[];
      /** Its owner does so at the end. */
      close(): void;
    };

/** Uses a path as this process may open it. The way is good for as long as `use` runs. @throws what keeps this process from that. */
export type Reach = <T>(path: string, use: (way: string) => T) => T;

const mountsOfItsOwn = /^mountpoints-\d+\.img$/;

export interface Which {
  /** A directory: other files are left as they are. */
  readonly within?: string | undefined;
  /** Files that the program appends to: images have no size of those (O_APPEND in criu/files-reg.c). */
  readonly more?: readonly WrittenFile[];
}

/** Judges the files, and leaves them as they are. @throws what `reach` throws. */
export function planFor(images: string, reach: Reach, { within, more = [] }: Which = {}): Plan {
  const names = readdirSync(images);
  if (names.some((name) => mountsOfItsOwn.test(name)))
    return { is: 'refused', sentences: ['The tree has a mount namespace of its own, with other files'] };
  const files = filesOf(images, names);
  if (!files) return { is: 'refused', sentences: [`The images in ${images} cannot be read`] };
  const grown: Grown[] = [];
  const sentences: string[] = [];
  const close = (): void => {
    for (const each of grown) each.close();
  };
  try {
    for (const file of [...files, ...othersIn(more, files)]) {
      if (!isWithin(file, within)) continue;
      const found = look(file, reach);
      if (found instanceof Grown) grown.push(found);
      else if (found !== undefined) sentences.push(`${file.path} ${found}`);
    }
  } catch (error) {
    close();
    throw error;
  }
  if (sentences.length > 0) {
    close();
    return { is: 'refused', sentences };
  }
  return { is: 'plan', carryOut: () => carryOut(grown), undo: () => undo(grown), close };
}

/** Whether a restore finds each file as it needs it, or may put it back. The files stay as they are. @throws what `reach` throws. */
export function allFit(images: string, reach: Reach, { within, more = [] }: Which): boolean {
  const files = filesOf(images, readdirSync(images));
  const fits = (file: WrittenFile): boolean => {
    const found = look(file, reach);
    if (found instanceof Grown) found.close();
    return found === undefined || (found instanceof Grown && isWithin(file, within));
  };
  // CRIU compares no size of a file that images have none of.
  const appended = othersIn(more, files ?? []);
  return (
    files !== undefined &&
    [...files, ...appended].every(({ path }) => reach(path, existsSync)) &&
    [...files, ...appended.filter((file) => isWithin(file, within))].every(fits)
  );
}

function othersIn(more: readonly WrittenFile[], files: readonly WrittenFile[]): readonly WrittenFile[] {
  const known = new Set(files.map(({ path }) => path));
  return more.filter(({ path }) => !known.has(path));
}

function isWithin({ path }: WrittenFile, directory: string | undefined): boolean {
  return directory === undefined || path.startsWith(`${directory}/`);
}

function carryOut(files: readonly Grown[]): readonly PutBack[] {
  try {
    return files.map((each) => each.putBack());
  } catch (error) {
    undo(files);
    throw error;
  }
}

/** @returns a sentence for each file that is not as it was found; its bytes are beside it. */
function undo(files: readonly Grown[]): string[] {
  return files.flatMap((each) => each.undo() ?? []);
}

function filesOf(images: string, names: readonly string[]): readonly WrittenFile[] | undefined {
  try {
    const read = (name: string): Buffer => readFileSync(join(images, name));
    return writtenFiles({
      files: read('files.img'),
      fdinfo: names.filter((name) => /^fdinfo-\d+\.img$/.test(name)).map(read),
      remaps: names.includes('remap-fpath.img') ? read('remap-fpath.img') : undefined,
    });
  } catch {
    return undefined;
  }
}

/** @returns the rest of a sentence that begins with the file; undefined if it needs nothing, or CRIU will say more. */
function look(file: WrittenFile, reach: Reach): Grown | string | undefined {
  const opened = reach(file.path, open);
  if (typeof opened !== 'object') return opened;
  let grown: Grown | undefined;
  try {
    const judged = judge(file, opened);
    if (judged.is === 'grown') grown = new Grown(file, opened, reach);
    return judged.is === 'refused' ? judged.why : grown;
  } finally {
    if (!grown) opened.close();
  }
}

/** @returns the rest of a sentence if it cannot be opened; undefined if it is not there. */
function open(way: string): OwnedFd | string | undefined {
  try {
    // Not for writing: this process would be the writer that it looks for.
    return native.open(way, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? undefined : code === 'ELOOP' ? 'is a link' : 'may not be opened by you';
  }
}

function judge(file: WrittenFile, fd: OwnedFd): Judgement {
  const stat = fstatSync(fd.number);
  const isOwn = stat.uid === process.geteuid?.();
  return judgeFile(file, {
    size: stat.size,
    isRegular: stat.isFile(),
    isElsewhere: readlinkSync(`/proc/self/fd/${fd.number}`) !== file.path,
    isOwn,
    mode: stat.mode,
    links: stat.nlink,
    // A lease is for the file's owner.
    isWritten: isOwn && stat.isFile() && native.openElsewhere(fd, 'writer'),
  });
}

const chunkBytes = 1 << 20;
/** Earlier files of this kind. */
const mostKept = 1000;

/** A file that has grown since the dump. */
class Grown {
  readonly #file: WrittenFile;
  readonly #fd: OwnedFd;
  readonly #reach: Reach;
  #kept: string | undefined;

  constructor(file: WrittenFile, fd: OwnedFd, reach: Reach) {
    this.#file = file;
    this.#fd = fd;
    this.#reach = reach;
  }

  close(): void {
    this.#fd.close();
  }

  /** @throws an error if the file is as it was found. */
  putBack(): PutBack {
    const { path, size } = this.#file;
    const writable = this.#openForWriting();
    try {
      const end = fstatSync(writable).size;
      const [kept, beside] = this.#newBeside();
      this.#kept = kept;
      try {
        fchmodSync(beside, fstatSync(writable).mode & 0o777);
        copy(writable, size, end, beside);
        fsyncSync(beside);
        if (fstatSync(writable).size !== end) throw new Error(`${path} grows: a process writes it`);
        ftruncateSync(writable, size);
      } catch (error) {
        this.#reach(kept, unlinkSync);
        this.#kept = undefined;
        throw error;
      } finally {
        closeSync(beside);
      }
      return { path, kept, bytes: end - size };
    } finally {
      closeSync(writable);
    }
  }

  /** After a restore that did not come to pass. @returns a sentence if the bytes that came after stay beside the file. */
  undo(): string | undefined {
    const kept = this.#kept;
    if (kept === undefined) return undefined;
    this.#kept = undefined;
    const { path } = this.#file;
    try {
      if (this.#fill(kept)) return undefined;
      return `${path} was written meanwhile: what came after the dump is in ${kept}`;
    } catch (error) {
      return `${path} is as it was at the dump, and what came after is in ${kept}: ${(error as Error).message}`;
    }
  }

  /** @returns false if the file is not as it was left. */
  #fill(kept: string): boolean {
    const { size } = this.#file;
    const beside = this.#reach(kept, (way) => openSync(way, constants.O_RDONLY | constants.O_NOFOLLOW));
    try {
      const writable = this.#openForWriting();
      try {
        if (fstatSync(writable).size !== size) return false;
        append(beside, writable, size);
      } finally {
        closeSync(writable);
      }
    } finally {
      closeSync(beside);
    }
    this.#reach(kept, unlinkSync);
    return true;
  }

  /** The same file, whatever has its name by now. */
  #openForWriting(): number {
    return openSync(`/proc/self/fd/${this.#fd.number}`, constants.O_RDWR);
  }

  #newBeside(): [path: string, fd: number] {
    const { path, size } = this.#file;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    for (let attempt = 1; ; attempt += 1) {
      const name = `${path}.after-${size}${attempt === 1 ? '' : `.${attempt}`}`;
      try {
        return [name, this.#reach(name, (way) => openSync(way, flags, 0o600))];
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt === mostKept) throw error;
      }
    }
  }
}

/** Appends all of a file to another, or nothing. */
function append(from: number, to: number, size: number): void {
  try {
    copy(from, 0, fstatSync(from).size, to, size);
    fsyncSync(to);
  } catch (error) {
    ftruncateSync(to, size);
    throw error;
  }
}

function copy(from: number, start: number, end: number, to: number, at = 0): void {
  const buffer = Buffer.alloc(Math.min(chunkBytes, end - start));
  for (let place = start; place < end; ) {
    const read = readSync(from, buffer, 0, Math.min(buffer.length, end - place), place);
    if (read === 0) throw new Error('the file became shorter');
    for (let written = 0; written < read; )
      written += writeSync(to, buffer, written, read - written, at + (place - start) + written);
    place += read;
  }
}
