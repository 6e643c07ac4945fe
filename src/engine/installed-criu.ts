/** The installed CRIU: its version, and what does not work with it on this kernel. */
import { release } from 'node:os';
import { type CriuVersion, limitsOf } from '../policy/criu-version.ts';
import { findCriu } from './criu-binary.ts';
import { versionOf } from './criu-version.ts';

export class InstalledCriu {
  readonly #criu: string | undefined;

  /** @param criu as the service's option gives it. */
  constructor(criu: string | undefined) {
    this.#criu = criu;
  }

  /** Undefined without a CRIU that tells its version. Never rejects. */
  async version(): Promise<CriuVersion | undefined> {
    try {
      return await versionOf(findCriu(this.#criu));
    } catch {
      return undefined;
    }
  }

  /** A sentence for each known limit. Never rejects. */
  async limits(): Promise<readonly string[]> {
    const version = await this.version();
    return version === undefined ? [] : limitsOf(version, release());
  }
}
