/** The version of the installed CRIU, and whether it can serve users without root. */
import { constants, readSync, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { native } from '../native/binding.ts';
import { type CriuVersion, isBefore, nameOfVersion, parseCriuVersion } from '../policy/criu-version.ts';

/** CRIU 3.18 introduced `unprivileged`; older versions serve only root. */
const firstUnprivileged = [3, 18] as const;

/** The installed CRIU serves only root. */
export class CriuTooOldError extends Error {
  override readonly name = 'CriuTooOldError';
  readonly errno = os.errno.ENOSYS;
}

/** The version of a file, valid while the file stays the same. */
let known: { readonly identity: string; readonly version: Promise<CriuVersion | undefined> } | undefined;

/**
 * @param criu an absolute path.
 * @returns undefined if the program does not tell its version.
 * @throws an error of node:fs if there is no such file.
 */
export function versionOf(criu: string): Promise<CriuVersion | undefined> {
  const { dev, ino, size, mtimeMs } = statSync(criu);
  const identity = [criu, dev, ino, size, mtimeMs].join(' ');
  if (known?.identity !== identity) known = { identity, version: readVersion(criu) };
  return known.version;
}

/**
 * @param criu an absolute path.
 * @throws CriuTooOldError. A CRIU whose version is unknown is accepted.
 */
export async function requireUnprivilegedMode(criu: string): Promise<void> {
  const version = await versionOf(criu);
  if (version === undefined || !isBefore(version, firstUnprivileged)) return;
  throw new CriuTooOldError(
    `criu ${nameOfVersion(version)} serves only root: users without root need criu ${firstUnprivileged.join('.')} or newer`,
  );
}

const largestOutput = 4096;

function readVersion(criu: string): Promise<CriuVersion | undefined> {
  const output = native.memfd('criu-version', largestOutput);
  const devNull = native.open('/dev/null', constants.O_RDWR);
  try {
    const child = native.spawn({
      file: criu,
      argv: ['criu', '--version'],
      env: [],
      fds: [
        { source: devNull, target: 0 },
        { source: output, target: 1 },
        { source: devNull, target: 2 },
      ],
    });
    return new Promise((resolve) => {
      child.onExit(() => {
        child.close();
        const text = Buffer.alloc(largestOutput);
        readSync(output.number, text, 0, largestOutput, 0);
        output.close();
        resolve(parseCriuVersion(text.toString('latin1')));
      });
    });
  } catch {
    // If criu cannot be executed, starting it as an engine will fail with a better sentence.
    output.close();
    return Promise.resolve(undefined);
  } finally {
    devNull.close();
  }
}
