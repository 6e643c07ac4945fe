/** States as version 0.1.0 of this service has kept them, for sessions that outlive an upgrade. Pure. */
import type { AuthorizedRequest } from '../policy/authorize.ts';
import { mustVerify } from './session-restoring.ts';
import type { AtWork, State } from './session-states.ts';

/** Flags stood beside the state then. */
interface OlderState {
  readonly at: 'working' | 'notifying';
  readonly request: AuthorizedRequest;
  readonly callerEnded?: boolean;
  readonly verified: boolean;
  readonly cutOff?: string;
}

export function currentState(kept: State | OlderState): State {
  return 'verified' in kept ? converted(kept) : kept;
}

function converted({ at, request, callerEnded, verified, cutOff }: OlderState): State {
  const back = atWork(request, verified);
  if (at === 'notifying') return { at, request, back };
  if (back !== 'restoring') {
    if (cutOff !== undefined)
      return { at: 'rolling-back', request, because: { is: 'cut-off', reason: cutOff } };
    if (callerEnded) return { at: 'rolling-back', request, because: { is: 'caller-left' } };
  }
  return { at: back, request };
}

function atWork(request: AuthorizedRequest, verified: boolean): AtWork {
  if (!mustVerify(request)) return 'working';
  return verified ? 'resuming' : 'restoring';
}
