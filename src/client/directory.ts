/** A directory of a request: this process opens it, and the request names its descriptor. */
import { constants, readlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CriuError } from './criu-error.ts';

/** A path, an open directory, or the number of an open directory's descriptor. An open directory stays its owner's. */
export type Directory = string | FileHandle | number;

/** A directory that stays open until the request is over. */
export class OpenDirectory {
  readonly fd: number;
  /** Its path in this process; undefined if unknown. */
  readonly path: string | undefined;
  /** Undefined if its owner closes it. */
  readonly #owned: FileHandle | undefined;

  private constructor(fd: number, path: string | undefined, owned?: FileHandle) {
    this.fd = fd;
    this.path = path;
    this.#owned = owned;
  }

  /** @throws CriuError `DIRECTORY` */
  static async open(directory: Directory): Promise<OpenDirectory> {
    if (typeof directory !== 'string') {
      const fd = typeof directory === 'number' ? directory : directory.fd;
      return new OpenDirectory(fd, pathOf(fd));
    }
    try {
      const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
      return new OpenDirectory(handle.fd, directory, handle);
    } catch (error) {
      const { errno, message } = error as NodeJS.ErrnoException;
      throw new CriuError('DIRECTORY', `Cannot open the directory ${directory}: ${message}`, {
        errno: Math.abs(errno ?? 0),
        cause: error,
      });
    }
  }

  async close(): Promise<void> {
    await this.#owned?.close();
  }
}

function pathOf(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}
