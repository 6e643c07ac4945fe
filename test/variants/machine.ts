/**
 * In the place of src/session/machine/machine.ts: the caller of a restore that was verified is told of `post-resume` by its engine, and
 * has it wait as long as it likes; and nobody waits until the engine has gone.
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

/** As one whose result stays nowhere, and is not looked at. */
function unscoped({ scope: _, ...request }: AuthorizedRequest): AuthorizedRequest {
  return request;
}
