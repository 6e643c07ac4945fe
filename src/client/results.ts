/** The results of the verbs. */
import type { Directory } from './directory.ts';
import type { DumpOptions } from './options.ts';

export interface DumpResult {
  /** True in the restored copy of a process that dumped itself. */
  readonly restored: boolean;
  /** A sentence of the service about what its caller will miss when it restores: for example, a group. */
  readonly warning?: string;
  /** The reason why a manifest could not be written, for example a full disk. The dump is complete all the same. */
  readonly manifestFailure?: Error;
}

export interface RestoreResult {
  /** The root of the restored tree, in the engine's pid namespace. */
  readonly pid: number;
}

/** Since 3.0. */
export interface CriuVersion {
  readonly major: number;
  readonly minor: number;
  readonly sublevel?: number;
  readonly extra?: number;
  readonly name?: string;
  /** The git version, of an engine built from its repository. */
  readonly gitId?: string;
}

/** Since 1.8. */
export interface CriuFeatures {
  /** The kernel tracks changed memory: pre-dumps and `trackMem` work. */
  readonly memTrack: boolean;
  /** userfaultfd is good enough for `lazyPages`. */
  readonly lazyPages: boolean;
  /** The kernel has pidfd_open(2) and pidfd_getfd(2), for `pidfdStoreSk`. */
  readonly pidfdStore: boolean;
  /** CRIU can compress pages. Absent if this CRIU does not know of it. Since 4.3. */
  readonly memCompression?: boolean;
}

export interface CheckResult {
  /** Sentences of the service about what does not work with this CRIU on this kernel. */
  readonly warning?: string;
}

export interface PageServer {
  /** The TCP port of the server. */
  readonly port: number;
  /** Its process id; 0 if CRIU does not tell. */
  readonly pid: number;
}

/** A finished round. Call a method in the loop's body to continue the series; without a call the series ends. */
export interface PreDumpRound {
  /** Counts from 1. */
  readonly number: number;
  /** Directory of its images. */
  readonly imagesDir: Directory;
  /** Another round. Options absent in `options` are as in this round. */
  next(options: Partial<DumpOptions>): void;
  /** The dump that ends the series. Options absent in `options` are as in this round. */
  dump(options: Partial<DumpOptions>): Promise<DumpResult>;
}
