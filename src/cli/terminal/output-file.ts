/** A file that the output of a program's terminal is appended to. */
import { constants, fstatSync, writeSync } from 'node:fs';
import { native, type OwnedFd } from '../../native/binding.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';

/** @throws Obstacle */
export function openOutput(path: string): OwnedFd {
  try {
    return openOwn(path, constants.O_WRONLY | constants.O_APPEND, constants.O_CREAT);
  } catch (error) {
    throw new Obstacle(exitCodes.directory, `${path} cannot be written: ${(error as Error).message}`);
  }
}

/** @throws Obstacle */
export function openInput(path: string): OwnedFd {
  try {
    return openOwn(path, constants.O_RDONLY);
  } catch (error) {
    throw new Obstacle(exitCodes.directory, `${path} cannot be read: ${(error as Error).message}`);
  }
}

/**
 * In a directory like /tmp others may have put a link or a file of theirs where root names one. Root gets only a file of root's, with
 * this one name, that no other user can write; a device (/dev/null) decides for itself.
 */
function openOwn(path: string, flags: number, whenFirst = 0): OwnedFd {
  if (process.geteuid?.() !== 0) return native.open(path, flags | whenFirst, 0o666);
  const guarded = constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const first = native.open(path, flags | whenFirst | guarded, 0o666);
  try {
    const stat = fstatSync(first.number);
    const isRoots = stat.uid === 0 && stat.nlink === 1 && (stat.mode & 0o022) === 0;
    if (!stat.isCharacterDevice() && !(stat.isFile() && isRoots)) {
      throw new Error('it is not a file of root’s alone, which no other user can write');
    }
    // O_NONBLOCK would stay with the program.
    return native.open(`/proc/self/fd/${first.number}`, flags);
  } finally {
    first.close();
  }
}

/** A failure, as of a full disk, is the file's own: the program and its terminal go on. */
export function append(file: OwnedFd | undefined, bytes: Uint8Array): void {
  if (!file) return;
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(file.number, bytes, at);
  } catch {
    // Nothing can be told to anybody: criuctl may have left long ago.
  }
}
