/** The way in which a session of an earlier start goes on. Pure. */
import type { State } from '../machine/states.ts';

export type Resumption =
  /** The request was taken from the caller's queue, and no engine has it: judge the stored copy again. */
  | 'ask-again'
  /** An engine may have been started on the caller's own connection, and the store does not know it: find it in /proc. */
  | 'find-engine'
  /** Work has not begun: the packet is still in the caller's queue. */
  | 'look-anew'
  /** Continue in the saved state. */
  | 'go-on';

/** @param engine true if the store has an engine of this session. */
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
