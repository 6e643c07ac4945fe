/**
 * Every rule about a tree that a confined engine restores. The owner of the images can write anything into them. Therefore no
 * instruction of the tree runs before the tree is verified, and none while its engine is there. Pure.
 *
 *     restoring -> verifying -> resuming -> leaving -> letting-run -> resumed
 *
 * Invariants:
 * - In restoring and verifying, the end of the request kills the tree through its cgroup. An end of file would not do: an engine
 *   that reads an end of file at pre-resume still resumes the tree (cr_restore_tasks in CRIU's cr-restore.c).
 * - From resuming on, the tree is verified and frozen, until letting-run has verified it a second time.
 */
import { constants as os } from 'node:os';
import type { AuthorizedRequest } from '../../policy/authorize.ts';
import { hintOf, isToldAlready, tryAgain } from './again.ts';
import type { Action, AtWork, Input, OwnPid, State, Step } from './states.ts';
import {
  afterFinal,
  engineLost,
  failure,
  overdue,
  rollBackForCallerEnd,
  rollBackForDeadline,
  tellCaller,
  tellFinal,
  withoutRule,
} from './steps.ts';

const { ECANCELED, EPERM, ETIMEDOUT } = os.errno;

type In<At extends State['at']> = Extract<State, { at: At }>;

export function mustVerify(request: AuthorizedRequest): boolean {
  return request.scope === 'restore' && request.engine === 'confined';
}

/** The state in which an engine works on this request. */
export function atWork(request: AuthorizedRequest): 'working' | 'restoring' {
  return mustVerify(request) ? 'restoring' : 'working';
}

export function whenRestoring(state: In<'restoring'>, input: Input): Step {
  const { request } = state;
  switch (input.on) {
    case 'engine-notify':
      return input.script === 'pre-resume'
        ? { state: { at: 'verifying', request }, actions: [{ do: 'verify' }] }
        : notified(request, state.at, input.script);
    case 'engine-final':
      return input.success ? refuseToRun(request, resumedEarly) : failed(request, input.ownPid);
    case 'engine-hangup':
      return refuseToRun(request, hungUp);
    default:
      return whenUnverified(state, input);
  }
}

export function whenVerifying(state: In<'verifying'>, input: Input): Step {
  const { request } = state;
  switch (input.on) {
    case 'verified':
      return notified(request, 'resuming', 'pre-resume');
    case 'unverified':
      return refuseToRun(request, input.reason);
    case 'engine-hangup':
    case 'engine-final':
      return refuseToRun(request, resumedEarly);
    default:
      return whenUnverified(state, input);
  }
}

/** Rules before verification. They hold in `notifying`, too, if the answer leads back to `restoring`. */
export function whenUnverified(state: In<'restoring' | 'verifying' | 'notifying'>, input: Input): Step {
  const { request } = state;
  switch (input.on) {
    case 'engine-end':
      return withoutTree(engineLost(request, input.end));
    case 'deadline':
      return {
        state: { at: 'draining' },
        actions: [
          { do: 'stop-listening' },
          { do: 'kill-tree' },
          ...failure(request, ETIMEDOUT, overdue(request, input.reason)),
          { do: 'close-caller' },
        ],
      };
    case 'caller-end':
      return {
        state: { at: 'draining' },
        actions: [
          { do: 'stop-listening' },
          { do: 'kill-tree' },
          {
            do: 'record',
            result: 'failed',
            errno: ECANCELED,
            reason: `${request.name}: the caller left before what was restored could be verified`,
          },
          { do: 'close-caller' },
        ],
      };
    default:
      return withoutRule(state, input);
  }
}

export function whenResuming(state: In<'resuming'>, input: Input): Step {
  const { request } = state;
  switch (input.on) {
    case 'engine-notify':
      // The tree is still frozen. The caller gets post-resume when the tree runs (letting-run).
      return input.script === 'post-resume'
        ? { state, actions: [{ do: 'acknowledge' }] }
        : notified(request, state.at, input.script);
    case 'engine-final':
      return input.success ? awaitLeaving(request, input.reply) : failed(request, input.ownPid);
    case 'engine-end':
      return withoutTree(engineLost(request, input.end));
    case 'deadline':
      return rollBackForDeadline(request, input.reason);
    case 'caller-end':
      return rollBackForCallerEnd(request);
    default:
      return withoutRule(state, input);
  }
}

/** If the caller asked for notifications, forward this one; if only the service asked for them, acknowledge it. */
function notified(request: AuthorizedRequest, back: Exclude<AtWork, 'working'>, script: string): Step {
  return request.notifies && !isToldAlready(request, script)
    ? tellCaller(request, back)
    : { state: { at: back, request }, actions: [{ do: 'acknowledge' }] };
}

/** The engine has replied that the tree is restored. Keep the reply until the engine has gone. */
export function awaitLeaving(request: AuthorizedRequest, reply: Uint8Array): Step {
  return {
    state: { at: 'leaving', request, reply: Buffer.from(reply).toString('base64') },
    actions: [{ do: 'await-leaving' }],
  };
}

/** A verified tree is let run, even if the caller has left. */
export function whenLeaving(state: In<'leaving'>, input: Input): Step {
  switch (input.on) {
    case 'engine-end':
      return { state: { ...state, at: 'letting-run' }, actions: [{ do: 'let-run' }] };
    case 'deadline':
      // The caller may have stopped the engine (SIGSTOP). Killing it is safe: CRIU has detached from every process of the tree.
      return { state, actions: [{ do: 'kill-engine' }] };
    default:
      return withoutRule(state, input);
  }
}

export function whenLettingRun(state: In<'letting-run'>, input: Input): Step {
  const { request, reply } = state;
  switch (input.on) {
    case 'let-run':
      return request.notifies
        ? {
            state: { ...state, at: 'resumed' },
            actions: [{ do: 'notify-resumed' }, { do: 'listen', deadline: 'notify' }],
          }
        : restored(reply);
    case 'unverified':
      return { ...refuseToRun(request, input.reason), state: { at: 'over' } };
    default:
      return withoutRule(state, input);
  }
}

/** The answer to `post-resume` has no effect: the tree runs, and CRIU itself only logs a failure here. */
export function whenResumed(state: In<'resumed'>, input: Input): Step {
  switch (input.on) {
    case 'decided':
    case 'malformed':
      return restored(state.reply, { do: 'discard' });
    case 'caller-end':
    case 'deadline':
      return restored(state.reply);
    default:
      return withoutRule(state, input);
  }
}

function restored(reply: string, before?: Action): Step {
  return {
    state: { at: 'over' },
    actions: [
      { do: 'stop-listening' },
      ...(before ? [before] : []),
      { do: 'send-reply', reply },
      { do: 'record', result: 'done' },
      { do: 'close-caller' },
    ],
  };
}

const hungUp =
  'lost its engine before it was verified (CRIU crashes without pstree.img, for example: "criuctl images verify DIR" names what is missing)';
const resumedEarly = 'was resumed before it was verified';

function refuseToRun(request: AuthorizedRequest, reason: string): Step {
  const sentence = `${request.name} refused: what was restored ${reason}`;
  return {
    state: { at: 'draining' },
    actions: [
      { do: 'kill-tree' },
      { do: 'reply', type: request.answeredAs, errno: EPERM, reason: sentence },
      { do: 'record', result: 'refused', errno: EPERM, reason: sentence },
      { do: 'close-caller' },
    ],
  };
}

/** After a failed restore the tree is killed, verified or not. */
function failed(request: AuthorizedRequest, ownPid: OwnPid | undefined): Step {
  // Abandoning a confined engine kills its tree, too.
  return (
    tryAgain(request, ownPid) ??
    withoutTree(afterFinal(request, false, tellFinal(request, false, hintOf(ownPid))))
  );
}

/** The same step, with the tree killed first. */
export function withoutTree(step: Step): Step {
  return { ...step, actions: [{ do: 'kill-tree' }, ...step.actions] };
}
