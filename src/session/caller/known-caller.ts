/** Callers as they were judged, and the engines that act for them. */
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import type { Standing } from '../../policy/standing.ts';
import { ticksNow } from '../../proc/audit-session.ts';
import type { Caller } from '../../proc/caller.ts';

/** An identified caller, with its standing as of one packet. The session owns the caller, and lends it. */
export interface KnownCaller {
  readonly caller: Caller;
  readonly standing: Standing;
}

/** A caller whose identity an engine can take. */
export interface ConfinedCaller extends KnownCaller {
  readonly standing: Extract<Standing, { kind: 'confined' }>;
}

/** The engine that an authorized request gets, and the caller that the engine acts for. */
export type EngineFor =
  /** An engine with the rights of root, for a fully privileged caller. */
  | { readonly is: 'privileged'; readonly by: KnownCaller }
  /** An engine with the identity of its caller. */
  | { readonly is: 'confined'; readonly as: ConfinedCaller }
  /** A privileged engine that gets nothing from its caller. */
  | { readonly is: 'probe' };

/** The identity of an engine that is started now. */
export function identityFor({ caller, standing }: ConfinedCaller): ConfinedIdentity {
  const { uid, gid } = caller.identity;
  return { uid, gid, traits: standing.traits, since: ticksNow() };
}
