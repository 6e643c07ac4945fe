/** A file that the output of a program's terminal is appended to. */
import { constants, writeSync } from 'node:fs';
import { native, type OwnedFd } from '../../native/binding.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';

/** @throws Obstacle */
export function openOutput(path: string): OwnedFd {
  try {
    return native.open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o666);
  } catch (error) {
    throw new Obstacle(exitCodes.directory, `${path} cannot be written: ${(error as Error).message}`);
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
