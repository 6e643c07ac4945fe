/** The file of `--pidfile`. */
import { accessSync, constants, lstatSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { newFile } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle } from './invocation.ts';

export interface PidFile {
  /** @throws Obstacle if writing fails in spite of the checks; its sentence has the pid. */
  write(pid: number): void;
  /** Call this at the end of the restore, written or not. */
  close(): void;
}

/**
 * Checks the file before the restore, because a restore cannot be undone.
 * @throws Obstacle if the file exists, or its directory cannot be written.
 */
export function pidFileFor(invocation: Invocation): PidFile | undefined {
  const name = invocation.own.pidfile;
  if (name === undefined) return undefined;
  const { path, close } = newFile(invocation, name);
  try {
    attempt(
      () => {
        if (lstatSync(path, { throwIfNoEntry: false }))
          throw new Obstacle(exitCodes.usage, `${name} exists already`, 'Remove it, or name another file');
        accessSync(dirname(path), constants.W_OK | constants.X_OK);
      },
      (why) => new Obstacle(exitCodes.directory, `${name} cannot be written: ${why}`),
    );
  } catch (error) {
    close();
    throw error;
  }
  return {
    close,
    write: (pid) =>
      attempt(
        () => writeFileSync(path, `${pid}`, { flag: 'wx' }),
        (why) =>
          new Obstacle(exitCodes.failed, `Process ${pid} runs again, but ${name} was not written: ${why}`),
      ),
  };
}

/** Leaves out the call and its path, which for root leads through /proc. */
function attempt(act: () => void, obstacle: (why: string) => Obstacle): void {
  try {
    act();
  } catch (error) {
    if (error instanceof Obstacle) throw error;
    throw obstacle((error as Error).message.split(', ')[0]!);
  }
}
