import assert from 'node:assert/strict';
import { ReqType } from '../../../src/protocol/messages.ts';
import { goOnFrom, type Resumption, resumptionOf } from '../../../src/session/keep/resumption.ts';
import type { Action, State } from '../../../src/session/machine/states.ts';
import { authorized } from './support/authorized.ts';

const request = authorized(ReqType.DUMP);
const judging = { at: 'judging', phase: 'first', engine: false } as const;

/** The expected resumption with an engine in the store, and without. */
const table: readonly [State, Resumption, Resumption][] = [
  [{ at: 'idle', phase: 'first', engine: false }, 'go-on', 'go-on'],
  [{ at: 'idle', phase: 'next', engine: true }, 'go-on', 'go-on'],
  [{ ...judging, packet: 'queued' }, 'look-anew', 'look-anew'],
  [{ ...judging, packet: 'ours' }, 'ask-again', 'ask-again'],
  [{ at: 'starting', request, packet: 'queued' }, 'look-anew', 'look-anew'],
  [{ at: 'starting', request, packet: 'ours' }, 'ask-again', 'ask-again'],
  [{ at: 'offered', request, packet: 'queued', by: 'this-start' }, 'go-on', 'go-on'],
  [{ at: 'offered', request, packet: 'ours', by: 'this-start' }, 'go-on', 'go-on'],
  [{ at: 'working', request }, 'go-on', 'go-on'],
  [{ at: 'restoring', request }, 'go-on', 'go-on'],
  [{ at: 'verifying', request }, 'go-on', 'go-on'],
  [{ at: 'notifying', request, back: 'working' }, 'go-on', 'go-on'],
  [{ at: 'rolling-back', request, because: { is: 'caller-left' } }, 'go-on', 'go-on'],
  [{ at: 'handed-over', request }, 'go-on', 'find-engine'],
];

describe('the resumption of a session after a restart', () => {
  for (const [state, withEngine, without] of table) {
    const both = withEngine === without ? withEngine : `${withEngine} with its engine, ${without} without`;
    const place = 'packet' in state ? ` and its packet is ${state.packet}` : '';
    it(`is ${both} in the state ${state.at}${place}`, () => {
      assert.deepEqual([resumptionOf(state, true), resumptionOf(state, false)], [withEngine, without]);
    });
  }
});

/** A saved state, the state with which its session goes on, and the actions. */
const steps: readonly [State, State, Action['do'][]][] = [
  [
    { at: 'idle', phase: 'next', engine: true },
    { at: 'idle', phase: 'next', engine: false },
    ['dismiss-engine', 'listen'],
  ],
  [
    { at: 'offered', request, packet: 'queued', by: 'this-start' },
    { at: 'offered', request, packet: 'ours', by: 'an-earlier-start' },
    ['discard-unread', 'stop-listening'],
  ],
  [
    { at: 'offered', request, packet: 'ours', by: 'this-start' },
    { at: 'offered', request, packet: 'ours', by: 'an-earlier-start' },
    ['stop-listening'],
  ],
  [{ at: 'working', request }, { at: 'working', request }, ['stop-listening']],
  [{ at: 'verifying', request }, { at: 'restoring', request }, ['stop-listening']],
  [
    { at: 'letting-run', request, reply: 'eWVz' },
    { at: 'leaving', request, reply: 'eWVz' },
    ['stop-listening', 'await-leaving'],
  ],
  [{ at: 'handed-over', request }, { at: 'handed-over', request }, ['give-connection']],
];

describe('the step with which a session goes on after a restart', () => {
  for (const [saved, state, actions] of steps) {
    const place = 'packet' in saved ? ` and its packet is ${saved.packet}` : '';
    it(`leads from ${saved.at} to ${state.at}${place}: ${actions.join(', ')}`, () => {
      const next = goOnFrom(saved);
      assert.deepEqual([next.state, next.actions.map((action) => action.do)], [state, actions]);
    });
  }
});
