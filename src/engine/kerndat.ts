/**
 * What CRIU finds out about the kernel (its kerndat), for engines that have become their callers. Root's engines keep theirs in
 * /run/criu.kdat; without root CRIU knows only $XDG_RUNTIME_DIR, where its user could write whatever CRIU then believes. So one is
 * made by criu-kerndat.service, with what such an engine holds, in a directory of root's that the launcher names.
 */
import { constants, statSync } from 'node:fs';
import { native } from '../native/binding.ts';
import { findCriu } from './criu-binary.ts';

/** The directory is named in native/launcher/launcher.cc, the file in CRIU's kerndat.c. It is gone with the boot, as /run is. */
export const keptKerndat = '/run/criu-service/criu.kdat';

const unit = 'criu-kerndat.service';

/** In nanoseconds since the epoch. */
interface Times {
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/**
 * Pure. CRIU looks by itself whether a kerndat is of its own build; one that is not costs as much as none.
 * @param kerndat undefined where there is none.
 */
export function isOutdated(kerndat: Times | undefined, criu: Times): boolean {
  return kerndat === undefined || kerndat.mtimeNs < criu.ctimeNs;
}

export class Kerndat {
  readonly #criu: string | undefined;
  readonly #make: () => void;
  /** For which program one was asked for. */
  #asked: string | undefined;

  /**
   * @param criu an absolute path instead of the search for criu.
   * @param make has one made, some time.
   */
  constructor(criu: string | undefined, make: () => void) {
    this.#criu = criu;
    this.#make = make;
  }

  /** The kernel may have learned something: a module that was loaded. */
  renew(): void {
    this.#asked = undefined;
    try {
      if (timesOf(keptKerndat)) this.#make();
    } catch {
      // It stays as it is.
    }
  }

  /** After an engine that may have had to do without. One that cannot be made is not asked for again. */
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
      // Without it everything takes longer, and nothing else.
    }
  }
}

function timesOf(path: string): Times | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

/** Has systemd make one. Nobody waits for it. @throws NativeError */
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
