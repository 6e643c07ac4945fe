/** The objects that all sessions of a service share. Tests put their own in their place. */
import type { KeptAnswers } from '../engine/kept-answers.ts';
import type { OwnPids } from '../engine/own-pids.ts';
import { maxUserPacketBytes } from '../native/limits.ts';
import type { ConnectionUser } from '../proc/connection-user.ts';
import type { Records } from '../records/records.ts';
import type { FdStore } from '../systemd/fd-store.ts';
import type { Timeouts } from './caller/deadlines.ts';
import type { JudgeContext, judge } from './caller/judge.ts';
import type { EnginesContext } from './engines/leases.ts';
import type { endUnbegun } from './keep/found-engine.ts';
import type { SessionFile } from './keep/session-file.ts';

export interface SessionContext extends JudgeContext, EnginesContext {
  readonly records: Records;
  readonly store: FdStore;
  readonly timeouts: Timeouts;
  /** The largest packet of a caller, in bytes. */
  readonly maxPacketBytes: number;
  readonly answers: KeptAnswers;
  readonly ownPids: OwnPids;
  readonly judge: typeof judge;
  readonly makeFile: typeof SessionFile.make;
  readonly endUnbegun: typeof endUnbegun;
}

/** Requests of users are small, and the memory of many that wait must be bounded. */
export function largestPacketOf({ uid }: ConnectionUser, { maxPacketBytes }: SessionContext): number {
  return uid === 0 ? maxPacketBytes : Math.min(maxPacketBytes, maxUserPacketBytes);
}
