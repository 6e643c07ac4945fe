/** By what a confined engine, and what came out of it, is known. */
import type { Traits } from '../policy/standing.ts';

/** Whom a confined engine has become, and by what it is known what came out of it (escaped.ts). */
export interface ConfinedIdentity {
  readonly uid: number;
  /** Absent where the engine is not there yet, as is what follows. */
  readonly gid?: number;
  readonly traits: Traits;
  /** A moment before it was there, in the ticks of a start time. */
  readonly since?: number;
  /** The time namespace that was made for it, as `time:[4026532345]`: there its restored tree must be, and nowhere else. */
  readonly timeNamespace?: string;
  /** Its audit session, once there is one. */
  readonly session?: number;
}
