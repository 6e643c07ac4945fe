/** Finds the installed criu. */
import { accessSync, constants, realpathSync, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { native } from '../native/binding.ts';

/** The directories that are searched, in this order: those of a system service. The environment's PATH is ignored. */
export const searchPath = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
] as const;

/** There is no criu; the message says what to do. */
export class CriuMissingError extends Error {
  override readonly name = 'CriuMissingError';
  readonly errno = os.errno.ENOENT;
}

/**
 * @param explicit an absolute path from the configuration; otherwise {@link searchPath} is searched for `criu`.
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

/** An administrator may link to it from a directory of the search path. As an engine it would ask this service, without end. */
const dropIn = '/criu-service/bin/criu';

const installed = searchPath.map((directory) => `${directory}/criu`);

function candidatesFor(explicit: string | undefined): readonly string[] {
  return explicit === undefined ? installed : [explicit];
}

/**
 * The file that an engine reads at its start, before it has a request (init_config in CRIU's config.c). An engine has no HOME, so
 * this is the only one.
 */
const configuration = '/etc/criu/default.conf';

/**
 * Changes whenever an engine that is started now could differ from an earlier one: a program on the search path, or the
 * configuration, was created, replaced or written to.
 */
export function engineIdentity(explicit?: string): string {
  return native.fileIdentities([...candidatesFor(explicit), configuration]);
}

function isExecutableFile(path: string): boolean {
  try {
    // Most directories hold no criu, and an exception costs more than this check.
    if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
    accessSync(path, constants.X_OK);
    return !realpathSync(path).endsWith(dropIn);
  } catch {
    return false;
  }
}
