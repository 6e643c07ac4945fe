/** Steps and lists of actions that machine.ts, delivery.ts and restoring.ts share. Pure. */
import { constants as os } from 'node:os';
import type { AuthorizedRequest } from '../../policy/authorize.ts';
import { afterCrash } from '../../protocol/image-words.ts';
import type { Unfinished } from '../../records/vocabulary.ts';
import type { Action, AtWork, EngineEnd, Input, State, Step } from './states.ts';

const { EIO } = os.errno;

/**
 * Inputs that a state ignores: a race or a level-triggered event of the kernel may bring them. Any other input without a rule is
 * recorded as unexpected. Neither changes the state.
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
  // A verified tree is let run, even if the caller has left.
  leaving: ['caller-end', 'engine-hangup'],
  'letting-run': ['caller-end', 'engine-hangup', 'deadline'],
  resumed: ['engine-hangup', 'engine-end'],
  notifying: ['engine-hangup'],
  'rolling-back': ['engine-notify', 'engine-hangup', 'caller-end', 'unread'],
  // The engine owns the caller's connection, so that it cannot be cut off.
  'handed-over': ['engine-hangup', 'deadline'],
  // The last reply is out. The engine may still speak, and a verification may still report its result.
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

/** The step for an input that the state has no rule for. */
export function withoutRule(state: State, input: Input): Step {
  const known = ignored[state.at].includes(input.on);
  return { state, actions: known ? [] : [{ do: 'record-unexpected', at: state.at, on: input.on }] };
}

export function stay(state: State): Step {
  return { state, actions: [] };
}

/** The same step, with `actions` first. */
export function before(actions: readonly Action[], step: Step): Step {
  return { ...step, actions: [...actions, ...step.actions] };
}

export function dismissIf(engine: boolean): Action[] {
  return engine ? [{ do: 'dismiss-engine' }] : [];
}

/** Forwards the engine's notification and waits for the caller's answer: -> notifying. */
export function tellCaller(request: AuthorizedRequest, back: AtWork): Step {
  return {
    state: { at: 'notifying', request, back },
    actions: [{ do: 'forward' }, { do: 'listen', deadline: 'notify' }],
  };
}

/**
 * An end of file makes CRIU roll back, where it waits for an answer. CRIU at work is never interrupted: it reads the end of file
 * when it waits next.
 */
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

/** @returns a sentence. @param reason its predicate; the request is its subject. */
export function overdue(request: AuthorizedRequest, reason: string): string {
  return `${request.name}: ${reason}`;
}

/** Forwards and records the engine's final reply. @param hint for a failure that CRIU's own words do not explain. */
export function tellFinal(request: AuthorizedRequest, success: boolean, hint?: string): Action[] {
  const { warning } = request;
  const words = success ? warning && { warning } : hint && { hint };
  return [
    { do: 'forward', ...words },
    { do: 'record', result: success ? 'done' : 'failed' },
  ];
}

/**
 * The step after a final reply. After keep_open the caller may send another request, also after a failure, as in cr_service_work.
 * A pre-dump loop ends with its first failure.
 */
export function afterFinal(request: AuthorizedRequest, success: boolean, told: readonly Action[]): Step {
  const isRound = request.isRound === true;
  if (!success && request.worksInChild) {
    const after: Unfinished = { request, reason: `${request.name}: CRIU failed`, claims: 'rolled back' };
    return { state: { at: 'draining', after }, actions: told };
  }
  if (!request.keepOpen && !(success && isRound)) return { state: { at: 'draining' }, actions: told };
  const engine = request.engine === 'privileged';
  return {
    state: { at: 'idle', phase: isRound ? 'pre-dump-loop' : 'next', engine },
    // A confined engine holds the directories of one request, and a probe answers one question: dismiss either.
    actions: [...told, ...dismissIf(!engine), { do: 'listen', deadline: 'none' }],
  };
}

/** The engine ended before its final reply: the service replies, and the tree is examined. */
export function engineLost(request: AuthorizedRequest, end: EngineEnd): Step {
  return unfinished(request, EIO, request.scope === 'restore' ? afterCrash(end.reason) : end.reason);
}

/** Ends the session with a reply of the service's own, and examines the tree. */
export function unfinished(request: AuthorizedRequest, errno: number, reason: string): Step {
  return {
    state: { at: 'over' },
    actions: [...failure(request, errno, reason), ...checkAfter({ request, reason }), { do: 'close-caller' }],
  };
}

/** The facts of a failed start. */
export type NotStarted = Omit<Extract<Input, { on: 'not-started' }>, 'on'>;

/** Ends a session whose engine could not be started. */
export function notStarted(
  request: AuthorizedRequest,
  { errno, reason, engineRemains, isRefused }: NotStarted,
): Step {
  const result = isRefused ? 'refused' : 'failed';
  return {
    state: engineRemains ? { at: 'draining' } : { at: 'over' },
    actions: [
      ...failure(request, errno, reason, result),
      ...dismissIf(engineRemains),
      { do: 'close-caller' },
    ],
  };
}

export function checkAfter(left: Unfinished | undefined): Action[] {
  return left?.request.target === undefined ? [] : [{ do: 'check-tree', left }];
}

export function failure(
  request: AuthorizedRequest,
  errno: number,
  reason: string,
  result: 'failed' | 'refused' = 'failed',
): Action[] {
  return [
    { do: 'reply', type: request.answeredAs, errno, reason },
    { do: 'record', result, errno, reason },
  ];
}
