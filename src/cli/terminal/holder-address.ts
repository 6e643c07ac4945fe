/** The sockets of terminals without a person: one for each process, in a directory that is its user's alone. */
import { lstatSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';

const onlyOwner = 0o700;
const othersMayWrite = 0o022;

/**
 * The directory for a new socket.
 * @throws Obstacle if there is none that is the user's alone.
 */
export function ownDirectory(): string {
  for (const { parent, path } of places()) {
    if (parent !== undefined && !isOwn(parent, othersMayWrite)) continue;
    try {
      mkdirSync(path, { mode: onlyOwner });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') continue;
    }
    if (isOwn(path, 0o777 & ~onlyOwner)) return path;
  }
  throw new Obstacle(
    exitCodes.refused,
    `RESTORE refused: there is no directory for the socket of the program’s terminal: each of ${places()
      .map(({ path }) => path)
      .join(', ')} is missing, or belongs to another user, or can be used by others`,
    'Set XDG_RUNTIME_DIR to a directory of your own with mode 0700',
  );
}

/** All sockets that the terminal of a process may have. Directories of other users are left out. */
export function socketsOf(pid: number): readonly string[] {
  return places()
    .filter(({ path }) => isOwn(path, 0o777 & ~onlyOwner))
    .map(({ path }) => socketIn(path, pid));
}

export function socketIn(directory: string, pid: number): string {
  return join(directory, `${pid}.terminal`);
}

interface Place {
  /** Must be the user's own. Absent for the directories of all users, where each makes one for itself. */
  readonly parent?: string;
  readonly path: string;
}

function places(): readonly Place[] {
  const uid = process.geteuid!();
  const runtime = process.env.XDG_RUNTIME_DIR;
  const below = (parent: string): Place => ({ parent, path: join(parent, 'criuctl') });
  return uid === 0
    ? [below('/run')]
    : [
        { path: `/tmp/criuctl-${uid}` },
        // These go with the user's last login, unless the user lingers (loginctl(1)), and the program lives on.
        ...(runtime?.startsWith('/') ? [below(runtime)] : []),
        below(`/run/user/${uid}`),
      ];
}

/** A directory itself, and no link to one: in /tmp each user may put a link in the place of another's directory. */
function isOwn(path: string, bits: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === process.geteuid!() && (found.mode & bits) === 0;
}
