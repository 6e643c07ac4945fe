/** What becomes of a session that an earlier start of this service has left. Pure. */
import type { State } from '../machine/states.ts';

export type Resumption =
  /** Its request was taken from the caller's queue, and no engine is to have it: it is asked again from our copy. */
  | 'ask-again'
  /** An engine may have been started on the caller's own connection, and nothing is known of it. */
  | 'find-engine'
  /** No engine has begun: the packet still waits in the caller's queue. */
  | 'look-anew'
  /** As it was. */
  | 'go-on';

/** @param engine whether the store has one. */
export function resumptionOf(state: State, engine: boolean): Resumption {
  switch (state.at) {
    case 'judging':
    case 'starting':
      return state.packet === 'ours' ? 'ask-again' : 'look-anew';
    case 'handed-over':
      return engine ? 'go-on' : 'find-engine';
    default:
      return 'go-on';
  }
}
