/**
 * Yama's ptrace_scope (Documentation/admin-guide/LSM/Yama.rst), for requests of users without root. Pure.
 *
 * Under scope 1 the kernel lets a process trace its descendants, and those that have named it. An engine is neither an ancestor of
 * the tree that it dumps, nor known to it. Each process of the tree is made to name the engine (native/grant), provided that the
 * root of the tree consents.
 */

/**
 * The option --yama: under scope 1, users may dump nothing, what the kernel would let them trace, or all that is theirs.
 */
export type YamaRule = 'none' | 'kernel' | 'own';

/** True on the architectures on which processes can be made to name an engine: for another, native/grant was never tried. */
export const canName = process.arch === 'x64';

/** How a request of a user without root can be served. */
export type Tracing =
  /** The kernel lets the engine trace what it has to. */
  | 'free'
  /** Once the processes of the target's tree have named the engine. */
  | 'named'
  | 'refused';

export interface YamaFacts {
  /** kernel.yama.ptrace_scope; 0 where there is no Yama. */
  readonly scope: number;
  /** The highest scope under which the request needs nothing from its target (RequestRow.ptraceScope). */
  readonly needs: number;
  /** The engine gets CAP_SYS_PTRACE from its caller. */
  readonly mayTrace: boolean;
  /** This machine's architecture is one on which processes can be made to name an engine. */
  readonly canName: boolean;
}

const relational = 1;

export function tracingUnder({ scope, needs, mayTrace, canName }: YamaFacts): Tracing {
  if (scope <= needs || mayTrace) return 'free';
  // From scope 2 on, the kernel asks nobody but for CAP_SYS_PTRACE.
  return scope === relational && canName ? 'named' : 'refused';
}

/**
 * Why the root of a tree counts as consenting, and its descendants with it: whoever may trace the root could make it trace them.
 * - `self`: it is the caller;
 * - `descendant`: it descends from the caller;
 * - `named`: it has named anybody;
 * - `restored`: this service has restored it for the same user, so its memory came out of the user's images;
 * - `own`: it does not, and an administrator has allowed that (--yama=own).
 */
export type Consent = 'self' | 'descendant' | 'named' | 'restored' | 'own';

/** What the kernel says about the root of a tree: `nothing`, or why its caller could trace it. */
export type Related = 'nothing' | 'self' | 'descendant' | 'named';

export interface Tolerance {
  readonly rule: YamaRule;
  /** The root lives in the cgroup of a tree that this service has restored. */
  readonly restored: boolean;
}

/** @returns true if the tree is dumped only where the kernel itself lets the caller trace its root. */
export function needsRelation({ rule, restored }: Tolerance): boolean {
  return rule === 'kernel' && !restored;
}

/** @returns undefined without consent. */
export function consentOf(related: Related, { rule, restored }: Tolerance): Consent | undefined {
  if (related !== 'nothing') return related;
  if (restored) return 'restored';
  return rule === 'own' ? 'own' : undefined;
}
