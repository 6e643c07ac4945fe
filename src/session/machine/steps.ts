/** The pieces of which machine.ts, delivery.ts and restoring.ts make their steps. Pure. */
import { constants as os } from 'node:os';
import type { AuthorizedRequest } from '../../policy/authorize.ts';
import { ReqType } from '../../protocol/messages.ts';
import type { Unfinished } from '../../records/vocabulary.ts';
import type { Action, AtWork, EngineEnd, Input, State, Step } from './states.ts';

const { EIO } = os.errno;

/**
 * Inputs that a state has no use for, because a race or the kernel's level-triggered events may bring them. Any other input
 * without a rule is recorded, and changes nothing.
 */
const ignored: { readonly [at in State['at']]: readonly Input['on'][] } = {
  idle: [],
  judging: [],
  starting: ['engine-hangup'],
  offered: [],
  working: ['engine-hangup'],
  restoring: [],
  verifying: [],
  resuming: ['engine-hangup'],
  // A caller that has left makes no difference: a verified tree is let run.
  leaving: ['caller-end', 'engine-hangup'],
  'letting-run': ['caller-end', 'engine-hangup', 'deadline'],
  resumed: ['engine-hangup', 'engine-end'],
  notifying: ['engine-hangup'],
  'rolling-back': ['engine-notify', 'engine-hangup', 'caller-end', 'unread'],
  // The engine reads from its caller itself, so that it cannot be cut off.
  'handed-over': ['engine-hangup', 'deadline'],
  // The last reply is out. The engine may still speak, and what was looked at for it may still be answered.
  draining: [
    'engine-notify',
    'engine-final',
    'unread',
    'verified',
    'unverified',
    'let-run',
    'caller-end',
    'deadline',
  ],
  over: [
    'engine-ready',
    'unread',
    'engine-notify',
    'engine-final',
    'engine-hangup',
    'engine-end',
    'verified',
    'unverified',
    'let-run',
    'not-started',
    'caller-end',
    'deadline',
  ],
};

/** The step of an input that a state has no rule for. */
export function withoutRule(state: State, input: Input): Step {
  const known = ignored[state.at].includes(input.on);
  return { state, actions: known ? [] : [{ do: 'record-unexpected', at: state.at, on: input.on }] };
}

export function stay(state: State): Step {
  return { state, actions: [] };
}

/** The same step behind other actions. */
export function before(actions: readonly Action[], step: Step): Step {
  return { ...step, actions: [...actions, ...step.actions] };
}

export function dismissIf(engine: boolean): Action[] {
  return engine ? [{ do: 'dismiss-engine' }] : [];
}

/** A notification of the engine goes to the caller, whose answer ends the wait. */
export function tellCaller(request: AuthorizedRequest, back: AtWork): Step {
  return {
    state: { at: 'notifying', request, back },
    actions: [{ do: 'forward' }, { do: 'listen', deadline: 'notify' }],
  };
}

/** CRIU reads an end of file where it waits for an answer, and rolls back by itself: an engine at work is never interrupted. */
export function rollBackForCallerEnd(request: AuthorizedRequest): Step {
  return {
    state: { at: 'rolling-back', request, because: { is: 'caller-left' } },
    actions: [{ do: 'stop-listening' }, { do: 'dismiss-engine' }],
  };
}

export function rollBackForDeadline(request: AuthorizedRequest, reason: string): Step {
  return {
    state: { at: 'rolling-back', request, because: { is: 'cut-off', reason: overdue(request, reason) } },
    actions: [{ do: 'stop-listening' }, { do: 'dismiss-engine' }, { do: 'await-rollback' }],
  };
}

/** @returns a sentence. @param reason continues one that begins with the request. */
export function overdue(request: AuthorizedRequest, reason: string): string {
  return `${request.name}: ${reason}`;
}

/** The engine's own last word is told and recorded. */
export function tellFinal(request: AuthorizedRequest, success: boolean): Action[] {
  return [
    success || request.hint === undefined ? { do: 'forward' } : { do: 'forward', hint: request.hint },
    { do: 'record', result: success ? 'done' : 'failed' },
  ];
}

/**
 * A caller that is there may ask again: cr_service_work goes on after keep_open whenever its reply was sent, also a failing one; a
 * pre-dump loop ends with its first failure.
 */
export function afterFinal(request: AuthorizedRequest, success: boolean, told: readonly Action[]): Step {
  const isRound = success && request.type === ReqType.PRE_DUMP;
  if (!request.keepOpen && !isRound) return { state: { at: 'draining' }, actions: told };
  const engine = request.engine === 'privileged';
  return {
    state: { at: 'idle', phase: request.type === ReqType.PRE_DUMP ? 'pre-dump-loop' : 'next', engine },
    // A confined engine holds the directories of one request, and a probe answers one question.
    actions: [...told, ...dismissIf(!engine), { do: 'listen', deadline: 'none' }],
  };
}

/** The engine ended before its last word: a reply of ours, and a look at the tree. */
export function engineLost(request: AuthorizedRequest, end: EngineEnd): Step {
  return unfinished(request, EIO, withHintOf(request, end.reason));
}

/** The request ends without an engine's word. */
export function unfinished(request: AuthorizedRequest, errno: number, reason: string): Step {
  return {
    state: { at: 'over' },
    actions: [...failure(request, errno, reason), ...checkAfter({ request, reason }), { do: 'close-caller' }],
  };
}

export function withHintOf({ hint }: AuthorizedRequest, reason: string): string {
  return hint === undefined ? reason : `${reason} (${hint})`;
}

/** No engine has the request. */
export function notStarted(
  request: AuthorizedRequest,
  errno: number,
  reason: string,
  engineRemains: boolean,
): Step {
  return {
    state: engineRemains ? { at: 'draining' } : { at: 'over' },
    actions: [...failure(request, errno, reason), ...dismissIf(engineRemains), { do: 'close-caller' }],
  };
}

export function checkAfter(left: Unfinished | undefined): Action[] {
  return left?.request.target === undefined ? [] : [{ do: 'check-tree', left }];
}

export function failure(request: AuthorizedRequest, errno: number, reason: string): Action[] {
  return [
    { do: 'reply', type: request.answeredAs, errno, reason },
    { do: 'record', result: 'failed', errno, reason },
  ];
}
