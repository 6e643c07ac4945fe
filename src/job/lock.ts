/** Locks of a job. The kernel lets them go with their holder, however it ends; over NFS they hold on each machine. */
import { constants, fstatSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { native, type OwnedFd } from '../native/binding.ts';

const stepMs = 20;

export interface Lock {
  release(): void;
}

export interface FileLock extends Lock {
  /** Of its descriptor: a process that inherits the descriptor holds the lock, too. */
  readonly number: number;
}

/** @returns undefined if another process has it. @throws Error with code ENOENT if the job was removed. */
export function tryToLock(path: string): FileLock | undefined {
  const fd: OwnedFd = native.open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW);
  let locked = false;
  try {
    // A job that was removed meanwhile has taken its file along: a lock of that file excludes nobody.
    locked = native.lock(fd) && isAt(path, fd);
  } finally {
    if (!locked) fd.close();
  }
  return locked ? { number: fd.number, release: () => fd.close() } : undefined;
}

/** @throws Error with code ENOENT if no file is there. */
function isAt(path: string, fd: OwnedFd): boolean {
  const [held, there] = [fstatSync(fd.number), statSync(path)];
  return held.dev === there.dev && held.ino === there.ino;
}

/** Waits until it is free. @throws the signal's reason, or Error with code ENOENT if the job was removed */
export async function lock(path: string, signal?: AbortSignal): Promise<Lock> {
  for (;;) {
    const taken = tryToLock(path);
    if (taken) return taken;
    await delay(stepMs, undefined, signal ? { signal } : {});
  }
}
