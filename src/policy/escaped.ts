/**
 * Whether a process that holds CAP_CHECKPOINT_RESTORE has it from an engine. Pure: a judgement over what a look through /proc has seen.
 *
 * The capability alone proves nothing: a program may have it from its file, from a set-user-ID bit, from a login (pam_cap), or in a
 * user namespace of its own, where it means nothing here. So a process is ended only if it came out of an engine.
 */

import type { Found } from '../proc/holders.ts';
import { bitOf } from './capabilities.ts';

const CAP_CHECKPOINT_RESTORE = bitOf('CHECKPOINT_RESTORE');
const CAP_AUDIT_CONTROL = bitOf('AUDIT_CONTROL');

/** An engine of a user that has left, or is to. */
export interface EngineOrigin {
  readonly uid: number;
  /** Undefined where it was not kept. */
  readonly gid: number | undefined;
  /** The capabilities of the caller that it has become. */
  readonly permitted: bigint;
  readonly ambient: bigint;
  /** Its audit session; undefined where it had none of its own. */
  readonly session: number | undefined;
  /** A moment before its launcher was there, in the ticks of a start time; undefined where nobody knows. */
  readonly since: number | undefined;
}

/** Where a process is: in a place of ours where the capability may stay, in another one of ours, or anywhere else. */
export type Place = 'may hold' | 'of engines' | 'elsewhere';

/**
 * - `session`: it is in the engine's audit session, which nothing else has ever been in, and which it cannot have left;
 * - `time`: it is younger than the engine, and has nothing from its file (AT_SECURE, which is to be asked for then).
 */
export type Proof = 'session' | 'time';

/** @returns the proof that this engine has left it; undefined where there is none. */
export function proofOf(
  { seen, session, start }: Found,
  place: Place,
  engine: EngineOrigin,
): Proof | undefined {
  const { uids, gids, permitted, ambient } = seen;
  const isCallers =
    uids.every((uid) => uid === engine.uid) &&
    (engine.gid === undefined || gids.every((gid) => gid === engine.gid));
  if (!isCallers || hasItAnyway(engine)) return undefined;
  if (((permitted | ambient) & CAP_CHECKPOINT_RESTORE) === 0n) return undefined;
  // An engine hands on what its caller's child would have, and the one capability.
  if ((permitted & ~(engine.ambient | CAP_CHECKPOINT_RESTORE)) !== 0n) return undefined;
  if (place === 'may hold') return undefined;
  if (engine.session !== undefined && session === engine.session) return 'session';
  if (marksForEver(engine)) return undefined;
  // Whose engine another place of ours is of cannot be told.
  if (place === 'of engines' || engine.since === undefined) return undefined;
  return start >= engine.since ? 'time' : undefined;
}

/** Its caller holds the capability without an engine, and what it leaves may hold it as long as it likes. */
export function hasItAnyway({ permitted }: EngineOrigin): boolean {
  return (permitted & CAP_CHECKPOINT_RESTORE) !== 0n;
}

/** Whether anything could be proved to have come out of it. */
export function isKnown({ session, since }: EngineOrigin): boolean {
  return session !== undefined || since !== undefined;
}

/** Whether all that came out of it is in its audit session still. */
export function marksForEver({ session, ambient }: Pick<EngineOrigin, 'session' | 'ambient'>): boolean {
  return session !== undefined && (ambient & CAP_AUDIT_CONTROL) === 0n;
}

/** Whose processes are to be looked at for an engine's. */
export function whoseOf(engine: EngineOrigin): {
  readonly uid: number;
  readonly session?: number;
  readonly since?: number;
} {
  const { uid, session, since } = engine;
  if (session !== undefined && marksForEver(engine)) return { uid, session };
  return { uid, ...(since === undefined ? {} : { since }) };
}
