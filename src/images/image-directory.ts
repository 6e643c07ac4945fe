/**
 * A directory of images, opened once. Its files are opened through it, so that all of them are of the same directory. Whoever
 * fills the directory may put anything in the place of a file: links are not followed, nothing is waited for, and only regular
 * files are read.
 */
import {
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  fsyncSync,
  lstatSync,
  opendirSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { ImageError } from './image-error.ts';
import { type OpenFile, openRegular } from './open-regular.ts';

/** The link that a dump with a parent makes. */
export const parentName = 'parent';

/** A chain of more directories is taken for a circle. */
export const mostParents = 1000;

export class ImageDirectory {
  readonly path: string;
  readonly #fd: number;
  /** The device and inode, by which circles are seen. */
  readonly identity: string;

  /** @throws Error of node:fs */
  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK);
    const { dev, ino } = fstatSync(this.#fd);
    this.identity = `${dev}:${ino}`;
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** @returns undefined if there is no such file. @throws ImageError */
  open(name: string): OpenFile | undefined {
    let opened: ReturnType<typeof openRegular>;
    try {
      opened = openRegular(this.place(name), 'as they are');
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return undefined;
      throw new ImageError(name, undefined, unopened(code, message));
    }
    if ('fd' in opened) return opened;
    if (opened.stat.isSymbolicLink()) throw new ImageError(name, undefined, unopened('ELOOP', ''), 'unread');
    throw new ImageError(name, undefined, 'is no regular file');
  }

  /** @returns undefined if there is no such file, or none that you may look at. Follows no link. */
  stat(name: string): Stats | undefined {
    try {
      return lstatSync(this.place(name), { throwIfNoEntry: false });
    } catch {
      return undefined;
    }
  }

  /** @returns the bytes of a regular file; `'absent'` if there is no such file. @throws ImageError */
  sizeOf(name: string): number | 'absent' {
    const stat = this.stat(name);
    if (!stat) return 'absent';
    if (stat.isSymbolicLink()) throw new ImageError(name, undefined, unopened('ELOOP', ''), 'unread');
    if (!stat.isFile()) throw new ImageError(name, undefined, 'is no regular file');
    return stat.size;
  }

  /** A part of a file, as far as it has so many bytes; nothing if there is no such file. @throws ImageError */
  readPart(name: string, offset: number, bytes: number): Buffer {
    const opened = this.open(name);
    if (!opened) return Buffer.alloc(0);
    try {
      const buffer = Buffer.alloc(Math.max(0, Math.min(bytes, opened.stat.size - offset)));
      return buffer.subarray(0, readAt(opened.fd, name, buffer, 0, offset));
    } finally {
      closeSync(opened.fd);
    }
  }

  /** A directory in this one. @returns undefined if there is no directory of that name. Follows no link. @throws Error of node:fs */
  below(name: string): ImageDirectory | undefined {
    if (this.stat(name)?.isDirectory() !== true) return undefined;
    const fd = openSync(this.place(name), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      return Object.assign(new ImageDirectory(`/proc/self/fd/${fd}`), { path: `${this.path}/${name}` });
    } finally {
      closeSync(fd);
    }
  }

  /** Names in the directory are on the disk afterwards. @throws Error of node:fs */
  flush(): void {
    try {
      fsyncSync(this.#fd);
    } catch (error) {
      // A file system without fsync(2) of directories has nothing to flush.
      if (!['EINVAL', 'ENOSYS', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }

  /** The names in the directory, one after the other: there may be any number. */
  *entries(): Generator<Dirent> {
    const directory = opendirSync(this.place('.'));
    try {
      for (let entry = directory.readSync(); entry; entry = directory.readSync()) yield entry;
    } finally {
      directory.closeSync();
    }
  }

  /** The directory of the dump before. @returns undefined without a parent. @throws ImageError */
  parent(): ImageDirectory | undefined {
    let target: string | undefined;
    try {
      target = readlinkSync(this.place(parentName));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return undefined;
      // A copy that follows links has a directory in the place of the link, which CRIU opens as well.
      if (code !== 'EINVAL') throw new ImageError(parentName, undefined, 'cannot be read');
    }
    try {
      const opened = new ImageDirectory(this.place(parentName));
      const path = target?.startsWith('/') ? target : `${this.path}/${target ?? parentName}`;
      return Object.assign(opened, { path });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const nowhere = code === 'ENOENT' || code === 'ENOTDIR';
      if (target === undefined)
        throw new ImageError(
          parentName,
          undefined,
          nowhere ? 'is no directory' : `cannot be opened (${code})`,
        );
      const why = nowhere ? 'where no directory is' : `which cannot be opened (${code})`;
      throw new ImageError(parentName, undefined, `leads to ${target}, ${why}`);
    }
  }

  /** The path of a file in the open directory, whatever becomes of the directory's own path. */
  place(name: string): string {
    return `/proc/self/fd/${this.#fd}/${name}`;
  }
}

/** Reads what is there, up to the end of the buffer. @throws ImageError, for example where a disk or a network file system fails. */
export function readAt(fd: number, name: string, buffer: Buffer, from: number, position: number): number {
  try {
    return readSync(fd, buffer, from, buffer.length - from, position);
  } catch (error) {
    const { message } = error as Error;
    throw new ImageError(name, position, `cannot be read: ${message.split(',')[0]}`);
  }
}

function unopened(code: string | undefined, message: string): string {
  switch (code) {
    case 'ELOOP':
      return 'is a link, which is not followed';
    case 'EACCES':
    case 'EPERM':
      return 'may not be read by you';
    default:
      return `cannot be opened: ${message.split(',')[0]}`;
  }
}
