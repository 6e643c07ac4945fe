/** A directory of a request: opened by this process, and named to CRIU by its descriptor. */
import { constants, readlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CriuError } from './criu-error.ts';

/** A path, an open directory, or the number of a descriptor of one. What is given open stays its owner's. */
export type Directory = string | FileHandle | number;

/** One that is held open until the request is over. */
export class OpenDirectory {
  readonly fd: number;
  /** As this process would name it; undefined where nobody can tell. */
  readonly path: string | undefined;
  /** Undefined where it is not ours to close. */
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
