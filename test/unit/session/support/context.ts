/** The shared context for a single session: real objects, except a store that keeps nothing. */

import { EnginePool, type EnginePoolOptions } from '../../../../src/engine/engine-pool.ts';
import { EngineQueue, type Limits } from '../../../../src/engine/engine-queue.ts';
import { KeptAnswers } from '../../../../src/engine/kept-answers.ts';
import { Kerndat } from '../../../../src/engine/kerndat.ts';
import { OwnPids } from '../../../../src/engine/own-pids.ts';
import { readOwnState } from '../../../../src/proc/caller.ts';
import { CallerReader } from '../../../../src/proc/caller-reader.ts';
import { TreeReader } from '../../../../src/proc/tree-reader.ts';
import { Records } from '../../../../src/records/records.ts';
import { judge } from '../../../../src/session/caller/judge.ts';
import type { SessionContext } from '../../../../src/session/context.ts';
import { endUnbegun } from '../../../../src/session/keep/found-engine.ts';
import { SessionFile } from '../../../../src/session/keep/session-file.ts';

const quiet = {
  error() {},
  warning() {},
  info() {},
  debug() {},
  most: 'error' as const,
  close: async () => {},
};

export const limits: Limits = { sessions: 8, sessionsPerUser: 8, engines: 8, enginesPerUser: 8 };

/** Longer than any test takes: it only ends a run that hangs. */
const longMs = 300_000;

/** @param others overrides. */
export function sessionContext(
  engine: EnginePoolOptions,
  requestMs = longMs,
  others: Partial<SessionContext> = {},
): SessionContext {
  const own = readOwnState();
  const pool = new EnginePool(engine);
  return {
    own,
    judge,
    makeFile: SessionFile.make,
    endUnbegun,
    sleepsReading: (engine) => engine.sleepsReading,
    reader: new CallerReader(own, longMs),
    trees: new TreeReader(),
    procMount: { hidesFrom: () => false, refresh() {} },
    standing: { allowNoNewPrivs: false },
    restorers: { who: 'all' },
    installed: { version: async () => undefined, limits: async () => [] },
    engine,
    pool,
    ownPids: new OwnPids(pool),
    confined: {
      launcher: '/nonexistent',
      configFile: '/nonexistent',
      preload: '/nonexistent',
      deadlineMs: longMs,
      timeNamespaces: false,
    },
    naming: { program: '/nonexistent', rule: 'kernel' },
    queue: new EngineQueue(limits),
    kerndat: new Kerndat(engine.criu, () => {}),
    records: new Records(quiet, () => {}),
    store: { keeps: false, keep: () => false, drop() {}, told: async () => {} },
    timeouts: { requestMs, notifyMs: longMs, operationMs: undefined },
    maxPacketBytes: 4096,
    answers: new KeptAnswers(engine),
    ...others,
  };
}
