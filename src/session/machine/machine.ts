/**
 * The session machine: `step` maps a state and an input to the next state and a list of actions. Pure; session.ts carries the
 * actions out. States, inputs and actions are defined in states.ts.
 *
 * A session follows cr_service_work in CRIU's cr-service.c, with a caller on one side and an engine on the other: a request,
 * perhaps notifications and their answers, one final reply; then the end, or, after keep_open or a successful PRE_DUMP, another
 * request.
 */
import { constants as os } from 'node:os';
import { EBADRQC } from '../../native/errnos.ts';
import type { AuthorizedRequest } from '../../policy/authorize.ts';
import type { Phase } from '../../policy/request-table.ts';
import { ReqType } from '../../protocol/messages.ts';
import { hintOf, isToldAlready, leftBetweenTries, tryAgain } from './again.ts';
import { begun, discardOf, handOver, start, whenStarting, whenUnread } from './delivery.ts';
import {
  awaitLeaving,
  mustVerify,
  whenLeaving,
  whenLettingRun,
  whenRestoring,
  whenResumed,
  whenResuming,
  whenUnverified,
  whenVerifying,
  withoutTree,
} from './restoring.ts';
import type { Action, Decided, Input, State, Step } from './states.ts';
import {
  afterFinal,
  checkAfter,
  dismissIf,
  engineLost,
  failure,
  notStarted,
  rollBackForCallerEnd,
  rollBackForDeadline,
  stay,
  tellCaller,
  tellFinal,
  unfinished,
  withoutRule,
} from './steps.ts';

const { EAGAIN, ECANCELED, EIO, ETIMEDOUT } = os.errno;

export const initialState: State = { at: 'idle', phase: 'first', engine: false };

export const initialActions: readonly Action[] = [{ do: 'listen', deadline: 'request' }];

/** The phase by which a packet is judged in this state; undefined where nothing is read from the caller. */
export function phaseOf(state: State): Phase | undefined {
  if (state.at === 'idle') return state.phase === 'pre-dump-loop' ? 'pre-dump-loop' : 'first';
  return state.at === 'notifying' || state.at === 'resumed' ? 'notify' : undefined;
}

/** @returns the next state, and the actions in the order to carry them out. For an input without a rule see `withoutRule`. */
export function step(state: State, input: Input): Step {
  switch (state.at) {
    case 'idle':
    case 'judging':
      return whenIdle(state, input);
    case 'starting':
      return whenStarting(state, input);
    case 'offered':
      return whenOffered(state, input);
    case 'working':
      return whenWorking(state, input);
    case 'restoring':
      return whenRestoring(state, input);
    case 'verifying':
      return whenVerifying(state, input);
    case 'resuming':
      return whenResuming(state, input);
    case 'leaving':
      return whenLeaving(state, input);
    case 'letting-run':
      return whenLettingRun(state, input);
    case 'resumed':
      return whenResumed(state, input);
    case 'notifying':
      return whenNotifying(state, input);
    case 'rolling-back':
      return whenRollingBack(state, input);
    case 'handed-over':
      return whenHandedOver(state, input);
    case 'draining':
      return whenDraining(state, input);
    case 'over':
      return withoutRule(state, input);
  }
}

function whenIdle(state: Extract<State, { at: 'idle' | 'judging' }>, input: Input): Step {
  switch (input.on) {
    case 'packet':
      return state.at === 'idle'
        ? {
            state: { ...state, at: 'judging', packet: 'queued' },
            actions: [{ do: 'stop-listening' }, { do: 'keep' }],
          }
        : withoutRule(state, input);
    case 'decided':
      return onDecision(state, input.decision);
    case 'malformed':
      return turnAway(state, discardOf(state), ReqType.EMPTY, input.errno, input.reason);
    case 'deadline':
      return turnAway(state, [], ReqType.EMPTY, ETIMEDOUT, input.reason);
    case 'stopping':
      return turnAway(state, [], ReqType.EMPTY, EAGAIN, input.reason);
    case 'caller-end':
      return leave(state, state.at === 'judging' ? leftBetweenTries(state) : []);
    case 'engine-hangup':
    case 'engine-end':
      // The engine left between two requests; start a fresh engine for the next request.
      return { state: { ...state, engine: false }, actions: [] };
    default:
      return withoutRule(state, input);
  }
}

function onDecision(state: Extract<State, { at: 'idle' | 'judging' }>, decision: Decided): Step {
  switch (decision.kind) {
    case 'refuse':
      return turnAway(state, discardOf(state), decision.type, decision.errno, decision.reason);
    case 'hand-over':
      return handOver(state, decision);
    case 'relay':
      return start(state, decision);
    case 'answer':
      // authorize() returns this in the notify phase only.
      return withoutRule(state, { on: 'decided', decision });
  }
}

function whenOffered(state: Extract<State, { at: 'offered' }>, input: Input): Step {
  switch (input.on) {
    case 'unread':
      return whenUnread(state);
    case 'engine-final': {
      const again =
        state.by === 'an-earlier-start' && !input.success && foundNothing(state.request, input.errno);
      return again ? whenUnread(state) : step(begun(state), input);
    }
    case 'engine-notify':
    case 'engine-hangup':
    case 'engine-end':
    case 'caller-end':
    case 'deadline':
      return step(begun(state), input);
    default:
      return withoutRule(state, input);
  }
}

/**
 * True if the failure says that the engine could not open the directories of its request. A privileged engine opens them through
 * the descriptors of the service that sent the request (setup_opts_from_req in cr-service.c): if that service was killed in this
 * moment, the descriptors are gone and nothing was done.
 */
function foundNothing({ failsWithoutErrno, engine }: AuthorizedRequest, errno: number): boolean {
  return engine !== 'confined' && (errno === EBADRQC || (failsWithoutErrno === true && errno === 0));
}

function whenWorking(state: Extract<State, { at: 'working' }>, input: Input): Step {
  const { request } = state;
  switch (input.on) {
    case 'engine-notify':
      return isToldAlready(request, input.script)
        ? { state, actions: [{ do: 'acknowledge' }] }
        : tellCaller(request, state.at);
    case 'engine-final':
      return (
        tryAgain(request, input.ownPid) ??
        afterFinal(request, input.success, tellFinal(request, input.success, hintOf(input.ownPid)))
      );
    case 'engine-end':
      return engineLost(request, input.end);
    case 'deadline':
      return rollBackForDeadline(request, input.reason);
    case 'caller-end':
      return rollBackForCallerEnd(request);
    default:
      return withoutRule(state, input);
  }
}

function whenNotifying(state: Extract<State, { at: 'notifying' }>, input: Input): Step {
  const { request, back } = state;
  switch (input.on) {
    case 'decided':
      return answered(state, input.decision.kind === 'answer' ? 'answer' : 'answer-failure');
    case 'malformed':
      return answered(state, 'answer-failure');
    case 'engine-notify':
    // An earlier start was killed after it had passed the answer on and before it had saved that.
    case 'engine-final':
      // CRIU stopped waiting for the answer (its own timeout option).
      return step({ at: back, request }, input);
    case 'caller-end':
    case 'deadline':
    case 'engine-end':
      return back === 'restoring' ? whenUnverified(state, input) : step({ at: back, request }, input);
    case 'engine-hangup':
      return back === 'restoring' ? whenRestoring({ at: back, request }, input) : stay(state);
    default:
      return withoutRule(state, input);
  }
}

function answered(
  { request, back }: Extract<State, { at: 'notifying' }>,
  how: 'answer' | 'answer-failure',
): Step {
  return { state: { at: back, request }, actions: [{ do: 'stop-listening' }, { do: how }] };
}

/** The caller gets the outcome and nothing else. Packets of the caller are no longer read. */
function whenRollingBack(state: Extract<State, { at: 'rolling-back' }>, input: Input): Step {
  const { request, because } = state;
  // If a restored tree is still frozen here, it was verified: an unverified tree is killed, never rolled back (restoring.ts).
  const ending = (next: Step): Step => (mustVerify(request) ? withoutTree(next) : next);
  switch (input.on) {
    case 'engine-final':
      // CRIU finished before it read the end of file. A finished operation cannot be undone: report the success.
      if (input.success) {
        return mustVerify(request)
          ? awaitLeaving(request, input.reply)
          : { state: { at: 'draining' }, actions: tellFinal(request, true) };
      }
      return ending(rolledBack(state));
    case 'engine-end':
      if (because.is === 'caller-left') return ending(engineLost(request, input.end));
      return ending(
        input.end.how === 'lost'
          ? unfinished(request, EIO, `${because.reason}; ${input.end.reason}`)
          : unfinished(request, ETIMEDOUT, because.reason),
      );
    case 'engine-ready':
      // The engine reads an end of file instead of a request, and leaves.
      return { state, actions: [{ do: 'dismiss-engine' }] };
    case 'not-started':
      return because.is === 'caller-left'
        ? notStarted(request, input)
        : notStarted(request, {
            errno: ETIMEDOUT,
            reason: because.reason,
            engineRemains: input.engineRemains,
          });
    case 'deadline': {
      // After the caller left, the rollback had the rest of the operation's time. Now it gets the time of a rollback.
      if (because.is === 'caller-left') return rollBackForDeadline(request, input.reason);
      const reason = `${because.reason}; CRIU was asked to roll back, and has not done so yet`;
      return ending({
        state: { at: 'draining', after: { request, reason } },
        actions: [...failure(request, ETIMEDOUT, reason), { do: 'close-caller' }],
      });
    }
    default:
      return withoutRule(state, input);
  }
}

/** CRIU has rolled back: its final reply is a failure. */
function rolledBack({ request, because }: Extract<State, { at: 'rolling-back' }>): Step {
  if (because.is === 'cut-off') {
    const { reason } = because;
    return {
      state: { at: 'draining', after: { request, reason } },
      actions: failure(request, ETIMEDOUT, reason),
    };
  }
  const reason = `${request.name}: the caller left, and CRIU rolled back`;
  return {
    state: { at: 'draining', after: { request, reason } },
    // A caller that closed only its sending half can still read CRIU's own reply.
    actions: [{ do: 'forward' }, { do: 'record', result: 'failed', errno: ECANCELED, reason }],
  };
}

function whenHandedOver(state: Extract<State, { at: 'handed-over' }>, input: Input): Step {
  if (input.on === 'not-started') {
    const { request } = state;
    return {
      state: { at: 'over' },
      actions: [
        ...failure(request, input.errno, input.reason, input.isRefused ? 'refused' : 'failed'),
        { do: 'close-caller' },
      ],
    };
  }
  // It cannot be cut off: the engine reads its caller's own connection, and only the caller can end that.
  if (input.on !== 'engine-end') return withoutRule(state, input);
  // An engine that exits by itself has replied, or has left the reply to the restored process.
  if (input.end.how === 'lost') return engineLost(state.request, input.end);
  const result = input.end.how === 'success' ? 'done' : 'failed';
  return { state: { at: 'over' }, actions: [{ do: 'record', result }, { do: 'close-caller' }] };
}

function whenDraining(state: Extract<State, { at: 'draining' }>, input: Input): Step {
  switch (input.on) {
    case 'engine-hangup':
      return { state, actions: [{ do: 'close-caller' }] };
    case 'engine-end':
      return ended(state);
    case 'engine-ready':
      return { state, actions: [{ do: 'dismiss-engine' }] };
    case 'not-started':
      // The request had ended while its engine was being started, and the start failed.
      return input.engineRemains ? { state, actions: [{ do: 'dismiss-engine' }] } : ended(state);
    default:
      return withoutRule(state, input);
  }
}

function ended({ after }: Extract<State, { at: 'draining' }>): Step {
  return { state: { at: 'over' }, actions: [...checkAfter(after), { do: 'close-caller' }] };
}

/** Ends the session with one reply of the service's own. */
function turnAway(
  state: Extract<State, { at: 'idle' | 'judging' }>,
  first: readonly Action[],
  type: number,
  errno: number,
  reason: string,
): Step {
  return leave(state, [
    ...first,
    { do: 'reply', type, errno, reason },
    { do: 'record', result: 'refused', errno, reason },
  ]);
}

function leave(state: Extract<State, { at: 'idle' | 'judging' }>, actions: readonly Action[]): Step {
  return {
    state: state.engine ? { at: 'draining' } : { at: 'over' },
    actions: [{ do: 'stop-listening' }, ...actions, ...dismissIf(state.engine), { do: 'close-caller' }],
  };
}
