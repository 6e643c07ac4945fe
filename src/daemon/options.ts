/** What criu-service is started with. Without a command line, as from its unit, nothing has to be loaded that parses one. */

import type { Limits } from '../engine/engine-queue.ts';
import { maxPacketBytes } from '../native/limits.ts';
import type { Timeouts } from '../session/caller/deadlines.ts';

export interface ServiceOptions {
  readonly address: string;
  readonly pidFile?: string;
  readonly daemon: boolean;
  readonly logFile?: string;
  readonly verbosity: number;
  readonly workDir?: string;
  /** A descriptor that gets one zero byte, and is closed, when the service is ready (status_ready in CRIU's util.c). */
  readonly statusFd?: number;
  readonly criu?: string;
  /** Serve callers that have no_new_privs set. */
  readonly allowNoNewPrivs: boolean;
  /** Who may restore without root: `all`, `root` (nobody), `group=NAME`. */
  readonly restore: string;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  /** The largest packet of a caller, in bytes. */
  readonly maxPacketBytes: number;
  /** How many engines wait for requests of root's. */
  readonly enginesAhead: number;
  /** Undefined for never. */
  readonly idleTimeoutMs?: number;
  readonly stopTimeoutMs: number;
  /** Where Prometheus' totals are kept, for node_exporter to read. */
  readonly metricsFile?: string;
}

/** What is to be printed instead of a service being started, and the exit status. */
export interface Printed {
  readonly exitCode: number;
}

/** Debian's criu prints level 2 (warnings) by default; -v is 4 there and here. */
const defaultVerbosity = 2;

export const defaults: ServiceOptions = {
  // The specification's; /var/run is /run.
  address: '/var/run/criu-service.socket',
  daemon: false,
  verbosity: defaultVerbosity,
  allowNoNewPrivs: false,
  restore: 'all',
  limits: { sessions: 1024, sessionsPerUser: 128, engines: 128, enginesPerUser: 16 },
  timeouts: { requestMs: 10_000, notifyMs: 600_000, operationMs: undefined },
  maxPacketBytes,
  enginesAhead: 2,
  idleTimeoutMs: 60_000,
  stopTimeoutMs: 300_000,
};
