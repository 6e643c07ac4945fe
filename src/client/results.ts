/** What the verbs answer. */
import type { Directory } from './directory.ts';
import type { DumpOptions } from './options.ts';

export interface DumpResult {
  /** True in the copy of a process that dumped itself, when it wakes up restored. */
  readonly restored: boolean;
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
  /** What git says, of an engine built from its repository. */
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
}

export interface PageServer {
  /** The TCP port that it got. */
  readonly port: number;
  /** Its process id; 0 where CRIU does not tell. */
  readonly pid: number;
}

/** One round that is done. Say in the body of the loop how the series goes on; if nothing is said, it ends. */
export interface PreDumpRound {
  /** Counts from 1. */
  readonly number: number;
  /** Where its images are. */
  readonly imagesDir: Directory;
  /** Another round. What `options` does not say is as in this one. */
  next(options: Partial<DumpOptions>): void;
  /** The dump that ends the series. What `options` does not say is as in this round. */
  dump(options: Partial<DumpOptions>): Promise<DumpResult>;
}
