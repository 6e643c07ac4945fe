/** Small files that are whole or absent, also after a power cut. */
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Written aside, fsynced and renamed. @throws Error of node:fs; then the file is as it was. */
export function writeWhole(path: string, content: string | Uint8Array, mode = 0o600): void {
  const aside = `${path}.new`;
  const fd = openSync(aside, 'w', mode);
  try {
    writeFileSync(fd, content);
    fsyncSync(fd);
  } catch (error) {
    removeIfThere(aside);
    throw error;
  } finally {
    closeSync(fd);
  }
  renameSync(aside, path);
  syncDirectory(dirname(path));
}

/** A link that leads to the old or to the new place, and never is absent. */
export function pointTo(target: string, path: string): void {
  const aside = `${path}.new`;
  removeIfThere(aside);
  symlinkSync(target, aside);
  renameSync(aside, path);
  syncDirectory(dirname(path));
}

/** The names in a directory survive a power cut. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some network file systems do not offer it.
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
  } finally {
    closeSync(fd);
  }
}

/** @returns undefined if the file is absent. @throws Error of node:fs */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
