/** By what a confined engine, and what came out of it, is known. */
import type { Traits } from '../policy/standing.ts';
import type { Consent } from '../policy/yama.ts';

/** Whom a confined engine has become, and by what it is known what came out of it (escaped.ts). */
export interface ConfinedIdentity {
  readonly uid: number;
  /** Absent where the engine is not there yet, as is what follows. */
  readonly gid?: number;
  readonly traits: Traits;
  /** A moment before it was there, in the ticks of a start time. */
  readonly since?: number;
  /** Present if a time namespace was made for it. */
  readonly time?: MadeTime;
  /** Why its target consents, where that was asked (yama.ts). */
  readonly consent?: Consent;
  /** Its audit session, once there is one. */
  readonly session?: number;
}

/** The time namespace of an engine that restores, and so of its restored tree. */
export interface MadeTime {
  /** As `time:[4026532345]`. The tree must be there, and nowhere else. */
  readonly namespace: string;
  /** Its clocks are those of the dump; or those of the caller, because the images have none. */
  readonly clocks: 'dump' | 'caller';
}
