/**
 * CRIU's cache of facts about the kernel (its kerndat), for confined engines. Root's engines keep theirs in /run/criu.kdat.
 * Without root, CRIU knows only $XDG_RUNTIME_DIR, where its user could write anything for CRIU to believe. So
 * criu-kerndat.service makes a kerndat with the rights of a confined engine, in a directory of root's that the launcher names.
 */
import { constants, statSync } from 'node:fs';
import { native } from '../native/binding.ts';
import { findCriu } from './criu-binary.ts';

/**
 * The directory is named in native/launcher/launcher.cc, the file in CRIU's kerndat.c. Like /run, the directory is emptied at
 * boot.
 */
export const keptKerndat = '/run/criu-service/criu.kdat';

const unit = 'criu-kerndat.service';

/** In nanoseconds since the epoch. */
interface Times {
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/**
 * Pure. CRIU itself checks that a kerndat belongs to its own build; another build's kerndat costs as much as a missing one.
 * @param kerndat undefined if there is no file.
 */
export function isOutdated(kerndat: Times | undefined, criu: Times): boolean {
  return kerndat === undefined || kerndat.mtimeNs < criu.ctimeNs;
}

export class Kerndat {
  readonly #criu: string | undefined;
  readonly #make: () => void;
  /** The program that a kerndat was last requested for. */
  #asked: string | undefined;

  /**
   * @param criu an absolute path instead of the search for criu.
   * @param make starts making a kerndat, and returns before it is done.
   */
  constructor(criu: string | undefined, make: () => void) {
    this.#criu = criu;
    this.#make = make;
  }

  /** Makes a new kerndat, because the kernel may have changed: a module was loaded. */
  renew(): void {
    this.#asked = undefined;
    try {
      if (timesOf(keptKerndat)) this.#make();
    } catch {
      // Keep the old kerndat.
    }
  }

  /**
   * Called after an engine that may have run without a kerndat. If making one fails, it is not requested again for the same
   * program.
   */
  refresh(): void {
    try {
      const criu = findCriu(this.#criu);
      const program = timesOf(criu);
      if (!program || !isOutdated(timesOf(keptKerndat), program)) return;
      const identity = native.fileIdentities([criu]);
      if (this.#asked === identity) return;
      this.#asked = identity;
      this.#make();
    } catch {
      // Without a kerndat, engines are only slower.
    }
  }
}

function timesOf(path: string): Times | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

/** Has systemd make a kerndat, without waiting for it. @throws NativeError */
export function startKerndatUnit(): void {
  const devNull = native.open('/dev/null', constants.O_RDWR);
  try {
    const systemctl = native.spawn({
      file: '/usr/bin/systemctl',
      argv: ['systemctl', '--no-block', '--quiet', 'start', unit],
      env: [],
      fds: [0, 1, 2].map((target) => ({ source: devNull, target })),
    });
    systemctl.onExit(() => systemctl.close());
  } finally {
    devNull.close();
  }
}
