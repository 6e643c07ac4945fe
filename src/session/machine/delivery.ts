/**
 * How a request comes from its caller's queue to exactly one engine, whenever this service is killed. Pure.
 *
 *     judging -> starting -> offered -> working or restoring
 *
 * A packet stays in its caller's queue until the engine that is to have it waits for it, and the next start of the service knows
 * both. Then, in this order: the state is saved, the packet is taken, it is sent. A service that is killed in between leaves a state
 * that says `queued`: the next start takes the packet, if it is still there, and finds out whether the engine has it.
 */
import { constants as os } from 'node:os';
import type { Decision } from '../../policy/authorize.ts';
import { atWork, mustVerify, withoutTree } from './restoring.ts';
import type { Action, AtWork, Input, PacketPlace, State, Step } from './states.ts';
import {
  afterFinal,
  before,
  dismissIf,
  engineLost,
  failure,
  notStarted,
  rollBackForCallerEnd,
  rollBackForDeadline,
  tellFinal,
  withoutRule,
} from './steps.ts';

const { EAGAIN } = os.errno;

type In<At extends State['at']> = Extract<State, { at: At }>;

/** Takes the packet of a state from the queue, where it has yet to be taken. */
export function discardOf(state: State): Action[] {
  return placeOf(state) === 'ours' ? [] : [{ do: 'discard' }];
}

function placeOf(state: State): PacketPlace {
  return 'packet' in state ? state.packet : 'queued';
}

/** An engine is to have the request. */
export function start(state: In<'idle' | 'judging'>, decision: Extract<Decision, { kind: 'relay' }>): Step {
  const { request, plan } = decision;
  // Descriptors can be put into an engine only when it starts, and it serves whom it was started for.
  const fresh = !state.engine || plan.engineFds.length > 0;
  return {
    state: { at: 'starting', request, packet: placeOf(state) },
    actions: [
      { do: 'stop-listening' },
      ...dismissIf(fresh && state.engine),
      { do: 'begin', request },
      // A probe freezes nothing, and what was kept of the request before is not true of this one.
      ...(request.engine === 'probe'
        ? ([{ do: 'forget' }] as const)
        : state.at === 'idle'
          ? ([{ do: 'keep' }] as const)
          : []),
      { do: 'start-engine', request, plan, fresh },
    ],
  };
}

/** An engine reads the request from its caller's queue itself. */
export function handOver(
  state: In<'idle' | 'judging'>,
  { request }: Extract<Decision, { kind: 'hand-over' }>,
): Step {
  const actions: Action[] = [{ do: 'stop-listening' }, ...dismissIf(state.engine), { do: 'begin', request }];
  if (placeOf(state) === 'queued')
    return { state: { at: 'handed-over', request }, actions: [...actions, { do: 'hand-over', request }] };
  // The engine would wait for a packet, and take one that was never judged.
  const reason = `${request.name}: this service was restarted while it was asked for a dump that contains its caller: ask again`;
  return {
    state: state.engine ? { at: 'draining' } : { at: 'over' },
    actions: [...actions, ...failure(request, EAGAIN, reason), { do: 'close-caller' }],
  };
}

export function whenStarting(state: In<'starting'>, input: Input): Step {
  const { request, packet } = state;
  const taken = discardOf(state);
  switch (input.on) {
    case 'engine-ready': {
      const offered = { at: 'offered', request, by: 'this-start' } as const;
      return {
        state: { ...offered, packet: 'ours' },
        actions: [{ do: 'save', state: { ...offered, packet } }, ...taken, { do: 'send' }],
      };
    }
    case 'answered':
      return withoutEngine(
        afterFinal(request, input.success, [...taken, ...tellFinal(request, input.success)]),
      );
    case 'not-started':
      return before(taken, notStarted(request, input.errno, input.reason, input.engineRemains));
    case 'engine-end': {
      const lost = engineLost(request, input.end);
      return before(taken, mustVerify(request) ? withoutTree(lost) : lost);
    }
    case 'deadline':
      return before(taken, rollBackForDeadline(request, input.reason));
    case 'caller-end':
      return before(taken, rollBackForCallerEnd(request));
    default:
      return withoutRule(state, input);
  }
}

/** The same step where no engine was started: none waits, and none is waited for. */
function withoutEngine({ state, actions }: Step): Step {
  return state.at === 'idle'
    ? { state: { ...state, engine: false }, actions: actions.filter((each) => each.do !== 'dismiss-engine') }
    : { state: { at: 'over' }, actions: [...actions, { do: 'close-caller' }] };
}

/** The engine has not read the request. */
export function whenUnread({ request, by }: In<'offered'>): Step {
  if (by === 'this-start') {
    return {
      state: { at: 'starting', request, packet: 'ours' },
      actions: [{ do: 'restart-engine', request }],
    };
  }
  const judging = { at: 'judging', phase: 'first', engine: false, packet: 'ours' } as const;
  return {
    state: judging,
    // Saved before the engine is let go: the next start must not take the engine's end for that of the request.
    actions: [{ do: 'save', state: judging }, { do: 'abandon-engine' }, { do: 'judge-again' }],
  };
}

/** What an engine becomes that has said something, or whose request has ended otherwise. */
export function begun({ request }: In<'offered'>): In<AtWork> {
  return { at: atWork(request), request };
}
