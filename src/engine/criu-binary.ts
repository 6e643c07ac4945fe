/** Where the installed criu is. */
import { accessSync, constants, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { native } from '../native/binding.ts';

/** The directories that are searched, in this order: those of a system service, never the environment's. */
export const searchPath = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
] as const;

/** The engine cannot be had; the message says what to do. */
export class CriuMissingError extends Error {
  override readonly name = 'CriuMissingError';
  readonly errno = os.errno.ENOENT;
}

/**
 * @param explicit an absolute path that was configured; otherwise {@link searchPath} is searched for `criu`.
 * @throws CriuMissingError
 */
export function findCriu(explicit?: string): string {
  const found = candidatesFor(explicit).find(isExecutableFile);
  if (found === undefined) {
    throw new CriuMissingError(
      explicit === undefined
        ? 'criu is not installed: install the package criu'
        : `There is no executable ${explicit}: install criu, or correct --criu`,
    );
  }
  return found;
}

const installed = searchPath.map((directory) => `${directory}/criu`);

function candidatesFor(explicit: string | undefined): readonly string[] {
  return explicit === undefined ? installed : [explicit];
}

/** What an engine reads at its start, before it has a request (init_config in CRIU's config.c); HOME it has none. */
const configuration = '/etc/criu/default.conf';

/**
 * Changes whenever an engine that is started now could be another one than before: a program that is looked for, or what it reads
 * at its start, was replaced or written to, or is there where it was not.
 */
export function engineIdentity(explicit?: string): string {
  return native.fileIdentities([...candidatesFor(explicit), configuration]);
}

function isExecutableFile(path: string): boolean {
  try {
    // Most directories have none, and an error costs more than this.
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
