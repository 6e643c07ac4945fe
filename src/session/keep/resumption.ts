/** The way in which a session of an earlier start goes on. Pure. */
import { initialActions, initialState } from '../machine/machine.ts';
import type { State, Step } from '../machine/states.ts';

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

/** The step with which a session goes on from its saved state; for the other ways of a resumption see {@link resumptionOf}. */
export function goOnFrom(state: State): Step {
  switch (state.at) {
    case 'idle':
      // The old engine would look for the descriptors of the next request in the service that made its connection, which is gone.
      // Dismissing it loses nothing: between two requests only the images matter.
      return {
        state: { ...state, engine: false },
        actions: [
          { do: 'dismiss-engine' },
          { do: 'listen', deadline: state.phase === 'first' ? 'request' : 'none' },
        ],
      };
    case 'offered':
      return {
        state: { ...state, packet: 'ours', by: 'an-earlier-start' },
        // The earlier start was killed while it took the packet off the queue, or right before that.
        actions: [
          ...(state.packet === 'queued' ? [{ do: 'discard-unread' } as const] : []),
          { do: 'stop-listening' },
        ],
      };
    case 'rolling-back':
      return { state, actions: state.because.is === 'cut-off' ? [{ do: 'await-rollback' }] : [] };
    case 'working':
    case 'restoring':
    case 'resuming':
      return { state, actions: [{ do: 'stop-listening' }] };
    case 'notifying':
    case 'resumed':
      return { state, actions: [{ do: 'listen', deadline: 'notify' }] };
    case 'leaving':
    case 'letting-run':
      // The exit of the engine will be reported again.
      return {
        state: { ...state, at: 'leaving' },
        actions: [{ do: 'stop-listening' }, { do: 'await-leaving' }],
      };
    case 'verifying':
      // The notification pre-resume is still in the engine's queue, and is handled again.
      return { state: { at: 'restoring', request: state.request }, actions: [{ do: 'stop-listening' }] };
    case 'handed-over':
      return { state, actions: [{ do: 'give-connection' }] };
    case 'judging':
    case 'starting':
    case 'draining':
    case 'over':
      // Unreachable: the first two are resumed in another way, the others are never kept.
      return { state, actions: [] };
  }
}

/** Work has not begun: an engine without a request exits, and the packet is read again. The stored session stays until then. */
export const lookAnew: Step = { state: initialState, actions: initialActions };

/** The request was taken from the queue: the stored copy is judged again, for another engine. */
export const askAgain: Step = {
  state: { at: 'judging', phase: 'first', engine: false, packet: 'ours' },
  actions: [{ do: 'abandon-engine' }, { do: 'judge-again' }],
};

/** True if the loss of its engine ends a session in this state. */
export function needsEngine({ at }: State): boolean {
  return at !== 'idle' && at !== 'resumed';
}
