/** Tells if the installed CRIU can serve users without root. */
import { constants, readSync, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { native } from '../native/binding.ts';

/** CRIU 3.18 introduced `unprivileged`; older versions serve only root. */
const firstUnprivileged: Version = [3, 18];

type Version = readonly [major: number, minor: number];

/** The installed CRIU serves only root. */
export class CriuTooOldError extends Error {
  override readonly name = 'CriuTooOldError';
  readonly errno = os.errno.ENOSYS;
}

/** The version of a file, valid while the file stays the same. */
let known: { readonly identity: string; readonly version: Promise<Version | undefined> } | undefined;

/**
 * @param criu an absolute path.
 * @throws CriuTooOldError. A CRIU whose version is unknown is accepted.
 */
export async function requireUnprivilegedMode(criu: string): Promise<void> {
  const { dev, ino, size, mtimeMs } = statSync(criu);
  const identity = [criu, dev, ino, size, mtimeMs].join(' ');
  if (known?.identity !== identity) known = { identity, version: readVersion(criu) };
  const version = await known.version;
  if (version === undefined || !isBefore(version, firstUnprivileged)) return;
  throw new CriuTooOldError(
    `criu ${version.join('.')} serves only root: users without root need criu ${firstUnprivileged.join('.')} or newer`,
  );
}

function isBefore([major, minor]: Version, [otherMajor, otherMinor]: Version): boolean {
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}

/** `Version: 4.1.1` on the first line of `criu --version`. */
export function parseVersion(text: string): Version | undefined {
  const found = /^Version:\s*(\d+)\.(\d+)/m.exec(text);
  return found ? [Number(found[1]), Number(found[2])] : undefined;
}

const largestOutput = 4096;

function readVersion(criu: string): Promise<Version | undefined> {
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
        resolve(parseVersion(text.toString('latin1')));
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
