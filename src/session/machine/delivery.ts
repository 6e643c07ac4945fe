/**
 * Delivery of a request from its caller's queue to exactly one engine, at whatever moment this service is killed. Pure.
 *
 *     judging -> starting -> offered -> working or restoring
 *
 * Precondition of `offered`: an engine waits for the request, and the next start of the service knows packet and engine. Until
 * then the packet stays in its caller's queue. Then, in this order (write-ahead): save the state, take the packet off the queue,
 * send it to the engine. If the service is killed in between, the saved state says `queued`: the next start takes the packet off
 * the queue, if it is still there, and finds out whether the engine has the request.
 */
import { constants as os } from 'node:os';
import { asSecondTry } from './again.ts';
import { atWork, mustVerify, withoutTree } from './restoring.ts';
import type { Action, AtWork, Decided, Input, PacketPlace, State, Step } from './states.ts';
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

/** Takes the packet of this state from its caller's queue, unless that was done before. */
export function discardOf(state: State): Action[] {
  return placeOf(state) === 'ours' ? [] : [{ do: 'discard' }];
}

function placeOf(state: State): PacketPlace {
  return 'packet' in state ? state.packet : 'queued';
}

/** An engine gets the request: -> starting. */
export function start(state: In<'idle' | 'judging'>, decision: Extract<Decided, { kind: 'relay' }>): Step {
  const { plan, engine } = decision;
  const request = asSecondTry(state, decision.request);
  // An engine can be given descriptors only at its start. A waiting engine belongs to the caller that it was started for.
  const fresh = !state.engine || plan.engineFds.length > 0;
  return {
    state: { at: 'starting', request, packet: placeOf(state) },
    actions: [
      { do: 'stop-listening' },
      ...dismissIf(fresh && state.engine),
      { do: 'begin', request },
      // A probe freezes nothing, so the next start need not go on with it: drop the record of the request before.
      ...(request.engine === 'probe'
        ? ([{ do: 'forget' }] as const)
        : state.at === 'idle'
          ? ([{ do: 'keep' }] as const)
          : []),
      { do: 'start-engine', request, plan, engine, fresh },
    ],
  };
}

/** An engine gets the caller's connection and reads the request itself: -> handed-over. */
export function handOver(
  state: In<'idle' | 'judging'>,
  { request, engine }: Extract<Decided, { kind: 'hand-over' }>,
): Step {
  const actions: Action[] = [{ do: 'stop-listening' }, ...dismissIf(state.engine), { do: 'begin', request }];
  if (placeOf(state) === 'queued')
    return {
      state: { at: 'handed-over', request },
      actions: [...actions, { do: 'hand-over', request, engine }],
    };
  // The packet was taken from the queue already. The engine would wait for the next packet, and act on it unjudged.
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
      return before(taken, notStarted(request, input));
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

/** The same step without an engine: a known answer needed none, so none has to be dismissed or awaited. */
function withoutEngine({ state, actions }: Step): Step {
  return state.at === 'idle'
    ? { state: { ...state, engine: false }, actions: actions.filter((each) => each.do !== 'dismiss-engine') }
    : { state: { at: 'over' }, actions: [...actions, { do: 'close-caller' }] };
}

/** The engine left or waits without having read the request: retry with another engine. */
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
    // Save first (write-ahead): the next start must not take the end of this engine for the end of the request.
    actions: [{ do: 'save', state: judging }, { do: 'abandon-engine' }, { do: 'judge-again' }],
  };
}

/** The state after `offered`: the engine has spoken, or the request has ended in another way. */
export function begun({ request }: In<'offered'>): In<AtWork> {
  return { at: atWork(request), request };
}
