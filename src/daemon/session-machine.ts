/**
 * What a session does next. Pure: states, inputs and actions; session.ts owns the fds and timers and does what this says.
 *
 * The life of a session is that of cr_service_work in CRIU's cr-service.c, with a caller on one side and an engine on
 * the other: a request, perhaps notifications and their answers, one final reply; then the end, or another request
 * after keep_open or a successful PRE_DUMP.
 */
import { constants as os } from 'node:os';
import type { AuthorizedRequest, Decision } from '../policy/authorize.ts';
import type { Phase } from '../policy/request-table.ts';
import { ReqType } from '../protocol/messages.ts';
import type { Action, EngineEnd, Input, State, Step, Unfinished } from './session-states.ts';

const { EAGAIN, ECANCELED, EIO, EPERM, ETIMEDOUT } = os.errno;

export const initialState: State = { at: 'idle', phase: 'first', engine: false };

export const initialActions: readonly Action[] = [{ do: 'listen', deadline: 'request' }];

/** What the caller may send in a state; undefined where nothing is read from it. */
export function phaseOf(state: State): Phase | undefined {
  if (state.at === 'idle') return state.phase;
  return state.at === 'notifying' || state.at === 'resumed' ? 'notify' : undefined;
}

/** @returns the next state and what to do, in this order. An input that a state does not know changes nothing. */
export function step(state: State, input: Input): Step {
  switch (state.at) {
    case 'idle':
      return whenIdle(state, input);
    case 'working':
      return whenWorking(state, input);
    case 'verifying':
      return whenVerifying(state, input);
    case 'leaving':
      return whenLeaving(state, input);
    case 'letting-run':
      return whenLettingRun(state, input);
    case 'resumed':
      return whenResumed(state, input);
    case 'notifying':
      return whenNotifying(state, input);
    case 'handed-over':
      return whenHandedOver(state, input);
    case 'draining':
      return whenDraining(state, input);
    case 'over':
      return stay(state);
  }
}

function whenIdle(state: Extract<State, { at: 'idle' }>, input: Input): Step {
  switch (input.on) {
    case 'decided':
      return onDecision(state, input.decision);
    case 'malformed':
      return turnAway(state, { do: 'discard' }, ReqType.EMPTY, input.errno, input.reason);
    case 'deadline':
      return turnAway(state, undefined, ReqType.EMPTY, ETIMEDOUT, input.reason);
    case 'stopping':
      return turnAway(state, undefined, ReqType.EMPTY, EAGAIN, input.reason);
    case 'caller-end':
      return leave(state, []);
    case 'engine-hangup':
    case 'engine-end':
      // It left between two requests; the next one gets a fresh engine.
      return { state: { ...state, engine: false }, actions: [] };
    default:
      return stay(state);
  }
}

function onDecision(state: Extract<State, { at: 'idle' }>, decision: Decision): Step {
  switch (decision.kind) {
    case 'refuse':
      return turnAway(state, { do: 'discard' }, decision.type, decision.errno, decision.reason);
    case 'hand-over':
      return {
        state: { at: 'handed-over', request: decision.request },
        actions: [
          { do: 'stop-listening' },
          ...dismissIf(state.engine),
          { do: 'hand-over', request: decision.request },
        ],
      };
    case 'relay': {
      // Descriptors can be put into an engine only when it starts, and it serves whom it was started for.
      const fresh = !state.engine || decision.plan.engineFds.length > 0;
      return {
        state: { at: 'working', request: decision.request, callerEnded: false, verified: false },
        actions: [
          { do: 'stop-listening' },
          ...dismissIf(fresh && state.engine),
          { do: 'relay', request: decision.request, plan: decision.plan, fresh },
        ],
      };
    }
    case 'answer':
      // authorize() gives this in the notify phase only.
      return stay(state);
  }
}

function whenWorking(state: Extract<State, { at: 'working' }>, input: Input): Step {
  switch (input.on) {
    case 'engine-notify':
      // The engine reads an end of file in place of an answer, and rolls back.
      if (state.callerEnded || state.cutOff !== undefined) return stay(state);
      if (mustVerify(state.request) && input.script === 'pre-resume' && !state.verified) {
        return { state: { at: 'verifying', request: state.request }, actions: [{ do: 'verify' }] };
      }
      // The tree is still frozen: the caller hears of this when it runs.
      return mustVerify(state.request) && input.script === 'post-resume'
        ? { state, actions: [{ do: 'acknowledge' }] }
        : tellCaller(state.request, state.verified);
    case 'engine-final':
      return onFinal(state, input);
    case 'engine-end':
      return onEngineLost(state.request, input.end, state.cutOff);
    case 'not-started': {
      const { request, cutOff } = state;
      const errno = cutOff === undefined ? input.errno : ETIMEDOUT;
      const reason = cutOff ?? input.reason;
      return {
        state: input.engineRemains ? { at: 'draining' } : { at: 'over' },
        actions: [
          ...failure(request, errno, reason),
          ...dismissIf(input.engineRemains),
          { do: 'close-caller' },
        ],
      };
    }
    case 'deadline':
      return onOverdue(state, input.reason);
    case 'engine-hangup':
      return unverifiedYet(state)
        ? refuseToRun(state.request, 'lost its engine before it was verified')
        : stay(state);
    case 'caller-end':
      // An engine that reads an end of file at pre-resume resumes the tree all the same (cr_restore_tasks in CRIU's cr-restore.c).
      if (unverifiedYet(state)) return abandonTree(state.request);
      return state.callerEnded
        ? stay(state)
        : {
            state: { ...state, callerEnded: true },
            actions: [{ do: 'stop-listening' }, { do: 'dismiss-engine' }],
          };
    default:
      return stay(state);
  }
}

/** Images are their owner's to write, so what they become under a confined engine is looked at before it runs. */
function mustVerify(request: AuthorizedRequest): boolean {
  return request.scope === 'restore' && request.engine === 'confined';
}

/** A caller that asked for no notifications sees none, also of those that we asked for. */
function tellCaller(request: AuthorizedRequest, verified: boolean): Step {
  return mustVerify(request) && !request.notifies
    ? { state: { at: 'working', request, callerEnded: false, verified }, actions: [{ do: 'acknowledge' }] }
    : {
        state: { at: 'notifying', request, verified },
        actions: [{ do: 'forward' }, { do: 'listen', deadline: 'notify' }],
      };
}

/** An engine that works is not interrupted: it reads an end of file where it waits for somebody, and rolls back by itself. */
function onOverdue(
  state: Extract<State, { at: 'working' | 'notifying' | 'verifying' }>,
  reason: string,
): Step {
  const { request } = state;
  const sentence = `${request.name}: ${reason}`;
  if (state.at === 'verifying' || unverifiedYet(state)) {
    return {
      state: { at: 'draining' },
      actions: [
        { do: 'stop-listening' },
        { do: 'kill-tree' },
        ...failure(request, ETIMEDOUT, sentence),
        { do: 'close-caller' },
      ],
    };
  }
  if (state.at === 'working' && state.cutOff !== undefined) {
    const late = `${state.cutOff}; CRIU was asked to roll back, and has not done so yet`;
    return {
      state: { at: 'draining', after: { request, reason: late } },
      actions: [
        // A verified tree is still frozen.
        ...(mustVerify(request) ? [{ do: 'kill-tree' } as const] : []),
        ...failure(request, ETIMEDOUT, late),
        { do: 'close-caller' },
      ],
    };
  }
  return {
    state: { at: 'working', request, callerEnded: false, verified: state.verified, cutOff: sentence },
    actions: [{ do: 'stop-listening' }, { do: 'dismiss-engine' }, { do: 'await-rollback' }],
  };
}

function unverifiedYet(state: { readonly request: AuthorizedRequest; readonly verified: boolean }): boolean {
  return mustVerify(state.request) && !state.verified;
}

function whenVerifying(state: Extract<State, { at: 'verifying' }>, input: Input): Step {
  const { request } = state;
  switch (input.on) {
    case 'verified':
      return tellCaller(request, true);
    case 'unverified':
      return refuseToRun(request, input.reason);
    case 'caller-end':
      return abandonTree(request);
    case 'deadline':
      return onOverdue(state, input.reason);
    case 'engine-end':
      return onEngineLost(request, input.end);
    case 'engine-hangup':
    case 'engine-final':
      return refuseToRun(request, 'was resumed before it was verified');
    default:
      return stay(state);
  }
}

/** Nobody is left to tell, and nothing was verified. */
function abandonTree(request: AuthorizedRequest): Step {
  const reason = `${request.name}: the caller left before what was restored could be verified`;
  return {
    state: { at: 'draining' },
    actions: [
      { do: 'stop-listening' },
      { do: 'kill-tree' },
      { do: 'record', result: 'failed', errno: ECANCELED, reason },
      { do: 'close-caller' },
    ],
  };
}

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

function onFinal(
  state: Extract<State, { at: 'working' }>,
  { success, reply }: Extract<Input, { on: 'engine-final' }>,
): Step {
  const { request, callerEnded, verified, cutOff } = state;
  if (mustVerify(request) && success && !verified) {
    return refuseToRun(request, 'was resumed before it was verified');
  }
  if (mustVerify(request) && success) {
    return {
      state: { at: 'leaving', request, reply: Buffer.from(reply).toString('base64') },
      actions: [{ do: 'await-leaving' }],
    };
  }
  // A success came too late to be undone, and is told as what it is.
  if (!success && (callerEnded || cutOff !== undefined)) {
    const reason = cutOff ?? `${request.name}: the caller left, and CRIU rolled back`;
    return {
      state: { at: 'draining', after: { request, reason } },
      actions: [
        ...(mustVerify(request) ? [{ do: 'kill-tree' } as const] : []),
        // Who closed only the sending half still gets CRIU's own words.
        ...(callerEnded
          ? ([{ do: 'forward' }, { do: 'record', result: 'failed', errno: ECANCELED, reason }] as const)
          : failure(request, ETIMEDOUT, reason)),
      ],
    };
  }
  const told: Action[] = [
    // A restore that failed leaves nothing that should run.
    ...(mustVerify(request) && !success ? [{ do: 'kill-tree' } as const] : []),
    success || request.hint === undefined ? { do: 'forward' } : { do: 'forward', hint: request.hint },
    { do: 'record', result: success ? 'done' : 'failed' },
  ];
  const phase = request.type === ReqType.PRE_DUMP ? 'pre-dump-loop' : 'first';
  // cr_service_work goes on after keep_open whenever its reply was sent, a failing one too; a loop ends with its first failure.
  const goesOn =
    !callerEnded &&
    cutOff === undefined &&
    (request.keepOpen || (success && request.type === ReqType.PRE_DUMP));
  if (!goesOn) return { state: { at: 'draining' }, actions: told };
  const engine = request.engine === 'privileged';
  return {
    state: { at: 'idle', phase, engine },
    // One that has become its caller holds the directories of one request, and a probe is for one question.
    actions: [...told, ...dismissIf(!engine), { do: 'listen', deadline: 'none' }],
  };
}

/** Whether the caller is there makes no difference: what was verified is let run. */
function whenLeaving(state: Extract<State, { at: 'leaving' }>, input: Input): Step {
  switch (input.on) {
    case 'engine-end':
      return { state: { ...state, at: 'letting-run' }, actions: [{ do: 'let-run' }] };
    case 'deadline':
      // Its caller may have stopped it. CRIU has let go of every process of the tree.
      return { state, actions: [{ do: 'kill-engine' }] };
    default:
      return stay(state);
  }
}

function whenLettingRun(state: Extract<State, { at: 'letting-run' }>, input: Input): Step {
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
      return stay(state);
  }
}

/** CRIU only logs that `post-resume` failed: the tree runs. */
function whenResumed({ reply, ...state }: Extract<State, { at: 'resumed' }>, input: Input): Step {
  switch (input.on) {
    case 'decided':
    case 'malformed':
      return restored(reply, { do: 'discard' });
    case 'caller-end':
    case 'deadline':
      return restored(reply);
    default:
      return stay({ ...state, reply });
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

function whenNotifying(state: Extract<State, { at: 'notifying' }>, input: Input): Step {
  const { request, verified } = state;
  const working = (callerEnded: boolean): Extract<State, { at: 'working' }> => ({
    at: 'working',
    request,
    callerEnded,
    verified,
  });
  switch (input.on) {
    case 'decided':
      return {
        state: working(false),
        actions: [
          { do: 'stop-listening' },
          { do: input.decision.kind === 'answer' ? 'answer' : 'answer-failure' },
        ],
      };
    case 'malformed':
      return { state: working(false), actions: [{ do: 'stop-listening' }, { do: 'answer-failure' }] };
    case 'engine-hangup':
      return unverifiedYet(state)
        ? refuseToRun(request, 'lost its engine before it was verified')
        : stay(state);
    case 'caller-end':
      if (unverifiedYet(state)) return abandonTree(request);
      return { state: working(true), actions: [{ do: 'stop-listening' }, { do: 'dismiss-engine' }] };
    case 'deadline':
      return onOverdue(state, input.reason);
    case 'engine-notify':
      // A service that was killed had passed the answer on, and had no time left to say so.
      return whenWorking(working(false), input);
    case 'engine-final':
      // CRIU gave up waiting (its own timeout option).
      return onFinal(working(false), input);
    case 'engine-end':
      return onEngineLost(request, input.end);
    default:
      return stay(state);
  }
}

function whenHandedOver(state: Extract<State, { at: 'handed-over' }>, input: Input): Step {
  if (input.on === 'not-started') {
    const { request } = state;
    return {
      state: { at: 'over' },
      actions: [...failure(request, input.errno, input.reason), { do: 'close-caller' }],
    };
  }
  // It cannot be cut off: what its engine reads is its caller's to write.
  if (input.on !== 'engine-end') return stay(state);
  // An engine that exits has replied itself, or left the reply to the restored process.
  if (input.end.how === 'lost') return onEngineLost(state.request, input.end);
  const result = input.end.how === 'success' ? 'done' : 'failed';
  return { state: { at: 'over' }, actions: [{ do: 'record', result }, { do: 'close-caller' }] };
}

function whenDraining(state: Extract<State, { at: 'draining' }>, input: Input): Step {
  switch (input.on) {
    case 'engine-hangup':
      return { state, actions: [{ do: 'close-caller' }] };
    case 'engine-end':
      return { state: { at: 'over' }, actions: [...checkAfter(state.after), { do: 'close-caller' }] };
    default:
      return stay(state);
  }
}

function onEngineLost(request: AuthorizedRequest, end: EngineEnd, cutOff?: string): Step {
  const asked = cutOff !== undefined && end.how !== 'lost';
  const errno = asked ? ETIMEDOUT : EIO;
  const own = request.hint === undefined ? end.reason : `${end.reason} (${request.hint})`;
  const reason = asked ? cutOff : cutOff === undefined ? own : `${cutOff}; ${own}`;
  return {
    state: { at: 'over' },
    actions: [
      ...(mustVerify(request) ? [{ do: 'kill-tree' } as const] : []),
      ...failure(request, errno, reason),
      ...checkAfter({ request, reason }),
      { do: 'close-caller' },
    ],
  };
}

function checkAfter(left: Unfinished | undefined): Action[] {
  return left?.request.target === undefined ? [] : [{ do: 'check-tree', left }];
}

function failure(request: AuthorizedRequest, errno: number, reason: string): Action[] {
  return [
    { do: 'reply', type: request.answeredAs, errno, reason },
    { do: 'record', result: 'failed', errno, reason },
  ];
}

/** One reply of ours, then the end. */
function turnAway(
  state: Extract<State, { at: 'idle' }>,
  before: Action | undefined,
  type: number,
  errno: number,
  reason: string,
): Step {
  return leave(state, [
    ...(before ? [before] : []),
    { do: 'reply', type, errno, reason },
    { do: 'record', result: 'refused', errno, reason },
  ]);
}

function leave(state: Extract<State, { at: 'idle' }>, actions: readonly Action[]): Step {
  return {
    state: state.engine ? { at: 'draining' } : { at: 'over' },
    actions: [{ do: 'stop-listening' }, ...actions, ...dismissIf(state.engine), { do: 'close-caller' }],
  };
}

function dismissIf(engine: boolean): Action[] {
  return engine ? [{ do: 'dismiss-engine' }] : [];
}

function stay(state: State): Step {
  return { state, actions: [] };
}
