/** What becomes of a session that an earlier start of this service has left. Pure. */
import type { SessionSnapshot } from './session-file.ts';

export type Resumption =
  /** Its request was taken from the caller's queue, and no engine is to have it: it is asked again from our copy. */
  | 'ask-again'
  /** An engine may have been started on the caller's own connection, and nothing is known of it. */
  | 'find-engine'
  /** Nobody has begun: the packet still waits in the caller's queue. */
  | 'look-anew'
  /** As it was. */
  | 'go-on';

/** @param engine whether the store has one. */
export function resumptionOf(
  { state, progress }: Pick<SessionSnapshot, 'state' | 'progress'>,
  engine: boolean,
): Resumption {
  if (progress === 'taken') return 'ask-again';
  if (state.at === 'handed-over') return engine ? 'go-on' : 'find-engine';
  return state.at !== 'idle' && progress === 'unread' ? 'look-anew' : 'go-on';
}
