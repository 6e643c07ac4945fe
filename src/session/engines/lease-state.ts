/** The states and parts of a lease. */
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import type { Engine, EngineExit } from '../../engine/engine.ts';
import type { EngineCgroup } from '../../engine/engine-cgroup.ts';
import type { AuthorizedRequest } from '../../policy/authorize.ts';
import type { Restorer } from '../../policy/restored.ts';
import type { EngineFor } from '../caller/known-caller.ts';

/** The request of a lease, and the engine that the request gets. */
export interface Order {
  readonly request: AuthorizedRequest;
  readonly engine: EngineFor;
}

/** The parts of an engine that has been started. */
export interface Started {
  readonly engine: Engine;
  readonly cgroup?: EngineCgroup | undefined;
  /** Undefined for a privileged engine. */
  readonly confined?: ConfinedIdentity | undefined;
}

/** The caller that a restored tree is judged by. The traits are those that its engine took. */
export type RestoringCaller = Omit<Restorer, 'traits'>;

export type LeaseState =
  /** The request waits for its turn, or its engine is being started. */
  | { readonly at: 'starting' }
  /** The engine waits for a request. It may exit without reading it: then nothing was done, and another engine can take it. */
  | { readonly at: 'ready' }
  /** The request was sent to an engine that was ready. */
  | { readonly at: 'offered' }
  /** The engine was started for its request, or has spoken since. */
  | { readonly at: 'speaking' }
  /** The engine reads an end of file where it reads next. */
  | { readonly at: 'dismissed' }
  /**
   * The process has exited, or the start has failed. `unheard`: the exit of an engine that was ready or offered, which the session
   * hears of only if no other engine takes the request. Until then the turn is kept for that other engine.
   */
  | { readonly at: 'gone'; readonly unheard?: EngineExit };
