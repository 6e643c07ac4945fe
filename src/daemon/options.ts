/** The options of criu-service. Without a command line, as from its unit, the parser need not be loaded. */

import type { Limits } from '../engine/engine-queue.ts';
import { maxPacketBytes } from '../native/limits.ts';
import type { YamaRule } from '../policy/yama.ts';
import type { Timeouts } from '../session/caller/deadlines.ts';

export interface ServiceOptions {
  readonly address: string;
  readonly pidFile?: string;
  readonly daemon: boolean;
  readonly logFile?: string;
  readonly verbosity: number;
  readonly workDir?: string;
  /** A descriptor to write one zero byte to and close when the service is ready (status_ready in CRIU's util.c). */
  readonly statusFd?: number;
  readonly criu?: string;
  /** Serve callers that have no_new_privs set. */
  readonly allowNoNewPrivs: boolean;
  /** The callers that may restore: `all`; `root` alone; `group=NAME`, root and that group. */
  readonly restore: string;
  /** Whose processes a user without root may dump under Yama's ptrace_scope 1. */
  readonly yama: YamaRule;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  /** The largest packet of a caller, in bytes. */
  readonly maxPacketBytes: number;
  /** The number of engines that wait for root's requests. */
  readonly enginesAhead: number;
  /** Undefined for never. */
  readonly idleTimeoutMs?: number;
  readonly stopTimeoutMs: number;
  /** The file of totals for Prometheus, which node_exporter reads. */
  readonly metricsFile?: string;
}

/** The command line was help, version or an error. It was printed; this is the exit status. */
export interface Printed {
  readonly exitCode: number;
}

/** The default of Debian's criu: level 2 (warnings). -v is 4 there and here. */
const defaultVerbosity = 2;

export const defaults: ServiceOptions = {
  // The address of the specification; /var/run is /run.
  address: '/var/run/criu-service.socket',
  daemon: false,
  verbosity: defaultVerbosity,
  allowNoNewPrivs: false,
  restore: 'all',
  yama: 'kernel',
  limits: { sessions: 1024, sessionsPerUser: 128, engines: 128, enginesPerUser: 16 },
  timeouts: { requestMs: 10_000, notifyMs: 600_000, operationMs: undefined },
  maxPacketBytes,
  enginesAhead: 2,
  idleTimeoutMs: 60_000,
  stopTimeoutMs: 300_000,
};
