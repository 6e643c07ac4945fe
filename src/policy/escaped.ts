/**
 * Judges if a process that holds CAP_CHECKPOINT_RESTORE got it from an engine. Pure: a judgement over the result of a look
 * through /proc.
 *
 * The capability alone proves nothing: a program may have it from its file, from a set-user-ID bit, from a login (pam_cap), or in
 * its own user namespace, where it means nothing here. So a process is ended only if it descends from an engine.
 */

import type { Found } from '../proc/holders.ts';
import { bitOf } from './capabilities.ts';

const CAP_CHECKPOINT_RESTORE = bitOf('CHECKPOINT_RESTORE');
const CAP_AUDIT_CONTROL = bitOf('AUDIT_CONTROL');

/** An engine of a user that has exited, or will be ended. */
export interface EngineOrigin {
  readonly uid: number;
  /** Undefined if it was not recorded. */
  readonly gid: number | undefined;
  /** The capabilities that the engine took over from its caller. */
  readonly permitted: bigint;
  readonly ambient: bigint;
  /** The engine's audit session; undefined if it had none of its own. */
  readonly session: number | undefined;
  /** A moment before its launcher started, in the ticks of a start time; undefined if unknown. */
  readonly since: number | undefined;
}

/** The place of a process: a cgroup of ours where the capability is allowed, another cgroup of ours, or any other. */
export type Place = 'may hold' | 'of engines' | 'elsewhere';

/**
 * - `session`: the process is in the engine's audit session, which only the engine and its descendants have ever been in, and
 *   which the process cannot have left;
 * - `time`: the process is younger than the engine, and has no rights from its program file (the caller has to check AT_SECURE).
 */
export type Proof = 'session' | 'time';

/** @returns the proof that the process descends from this engine; undefined without a proof. */
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
  // Descendants of an engine get the capabilities that its caller's child would have, and CAP_CHECKPOINT_RESTORE.
  if ((permitted & ~(engine.ambient | CAP_CHECKPOINT_RESTORE)) !== 0n) return undefined;
  if (place === 'may hold') return undefined;
  if (engine.session !== undefined && session === engine.session) return 'session';
  if (marksForEver(engine)) return undefined;
  // The process may belong to another engine, which cannot be told apart from this engine.
  if (place === 'of engines' || engine.since === undefined) return undefined;
  return start >= engine.since ? 'time' : undefined;
}

/** True if the caller holds the capability without an engine: then its descendants may hold it for ever. */
export function hasItAnyway({ permitted }: EngineOrigin): boolean {
  return (permitted & CAP_CHECKPOINT_RESTORE) !== 0n;
}

/** True if there is a way to prove that a process descends from this engine. */
export function isKnown({ session, since }: EngineOrigin): boolean {
  return session !== undefined || since !== undefined;
}

/** True if all descendants of the engine are still in its audit session. */
export function marksForEver({ session, ambient }: Pick<EngineOrigin, 'session' | 'ambient'>): boolean {
  return session !== undefined && (ambient & CAP_AUDIT_CONTROL) === 0n;
}

/** The processes to look at when searching for descendants of this engine. */
export function whoseOf(engine: EngineOrigin): {
  readonly uid: number;
  readonly session?: number;
  readonly since?: number;
} {
  const { uid, session, since } = engine;
  if (session !== undefined && marksForEver(engine)) return { uid, session };
  return { uid, ...(since === undefined ? {} : { since }) };
}
