/**
 * Replaces src/session/machine/machine.ts: after verification the engine itself sends `post-resume`, so that the caller can make
 * it wait at will, and the session ends without waiting for the engine to exit.
 */

import type { AuthorizedRequest } from '../../src/policy/authorize.ts';
import * as original from '../../src/session/machine/machine.ts';
import type { Input, State } from '../../src/session/machine/states.ts';

export const { initialActions, initialState, phaseOf } = original;

export const step: typeof original.step = (state, input) =>
  original.step(
    state.at === 'resuming' && goesOn(state, input)
      ? { at: 'working', request: unscoped(state.request) }
      : state,
    input,
  );

function goesOn({ request }: Extract<State, { at: 'resuming' }>, input: Input): boolean {
  return input.on === 'engine-final' || (input.on === 'engine-notify' && request.notifies);
}

/** The same request without a scope, so that no rule for restored trees applies. */
function unscoped({ scope: _, ...request }: AuthorizedRequest): AuthorizedRequest {
  return request;
}
