/** The order of keep, discard and send: a SIGKILL between any two actions neither loses nor doubles a request. */
import assert from 'node:assert/strict';
import { EBADRQC } from '../../../src/native/errnos.ts';
import type { RelayPlan } from '../../../src/policy/authorize.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { initialState, step } from '../../../src/session/machine/machine.ts';
import type { Action, Input, State } from '../../../src/session/machine/states.ts';
import { authorized, decided } from './support/authorized.ts';

const plan: RelayPlan = { peerFds: [], openedBy: 'service', engineFds: [], lendLogDirectory: false };
const request = authorized(ReqType.DUMP);
const restore = { ...authorized(ReqType.RESTORE), engine: 'confined', scope: 'restore' } as const;
const relayed = decided({ kind: 'relay', request, plan });
const judging = { at: 'judging', phase: 'first', engine: false } as const;
const starting = { at: 'starting', request } as const;
const offered = { at: 'offered', request, by: 'this-start' } as const;
const end: Input = { on: 'caller-end' };
const late: Input = { on: 'deadline', reason: 'late' };

const names = (actions: readonly Action[]): string[] => actions.map((action) => action.do);

describe('the delivery of a request', () => {
  it('keeps the session from the begin of the judgement', () => {
    assert.deepEqual(step(initialState, { on: 'packet' }), {
      state: { ...judging, packet: 'queued' },
      actions: [{ do: 'stop-listening' }, { do: 'keep' }],
    });
    const { state, actions } = step({ ...judging, packet: 'queued' }, relayed);
    assert.deepEqual(state, { ...starting, packet: 'queued' });
    assert.deepEqual(names(actions), ['stop-listening', 'begin', 'start-engine']);
  });

  it('keeps the session before the engine is started, if the packet was judged at once', () => {
    assert.deepEqual(names(step(initialState, relayed).actions), [
      'stop-listening',
      'begin',
      'keep',
      'start-engine',
    ]);
  });

  it('keeps nothing of a probe, which freezes nothing', () => {
    const probe = decided({ kind: 'relay', request: { ...request, engine: 'probe' }, plan });
    assert.deepEqual(names(step(initialState, probe).actions), [
      'stop-listening',
      'begin',
      'forget',
      'start-engine',
    ]);
  });

  it('saves `offered` before it takes the packet off the queue, and sends the request last', () => {
    assert.deepEqual(step({ ...starting, packet: 'queued' }, { on: 'engine-ready' }), {
      state: { ...offered, packet: 'ours' },
      actions: [{ do: 'save', state: { ...offered, packet: 'queued' } }, { do: 'discard' }, { do: 'send' }],
    });
  });

  it('leaves the queue alone if the packet was taken before', () => {
    assert.deepEqual(names(step({ ...starting, packet: 'ours' }, { on: 'engine-ready' }).actions), [
      'save',
      'send',
    ]);
  });

  it('replaces an engine that left the request unread, in the same turn', () => {
    assert.deepEqual(step({ ...offered, packet: 'ours' }, { on: 'unread' }), {
      state: { ...starting, packet: 'ours' },
      actions: [{ do: 'restart-engine', request }],
    });
  });

  it('saves the state, then judges again, if an earlier start has offered the request', () => {
    const state: State = { ...offered, by: 'an-earlier-start', packet: 'ours' };
    const again = { ...judging, packet: 'ours' } as const;
    const asked = {
      state: again,
      actions: [{ do: 'save', state: again }, { do: 'abandon-engine' }, { do: 'judge-again' }],
    };
    assert.deepEqual(step(state, { on: 'unread' }), asked);
    const foundNothing = {
      on: 'engine-final',
      success: false,
      errno: EBADRQC,
      reply: Buffer.from('no'),
    } as const;
    assert.deepEqual(step(state, foundNothing), asked);
    assert.equal(step({ ...offered, packet: 'ours' }, foundNothing).state.at, 'draining');
    assert.equal(step({ ...state, request: restore }, foundNothing).state.at, 'draining');
  });

  it('judges a CHECK again if it fails without an errno', () => {
    const check = authorized(ReqType.CHECK);
    const failed: Input = { on: 'engine-final', success: false, errno: 0, reply: Buffer.from('no') };
    const state: State = { ...offered, request: check, by: 'an-earlier-start', packet: 'ours' };
    assert.equal(step(state, failed).state.at, 'judging');
    assert.equal(step({ ...state, by: 'this-start' }, failed).state.at, 'draining');
    assert.equal(step({ ...state, request }, failed).state.at, 'draining');
  });

  it('never hands over after the packet was taken: the engine would read an unjudged packet', () => {
    const handOver = decided({ kind: 'hand-over', request });
    assert.equal(step({ ...judging, packet: 'queued' }, handOver).state.at, 'handed-over');
    const { state, actions } = step({ ...judging, packet: 'ours' }, handOver);
    assert.equal(state.at, 'over');
    assert.deepEqual(names(actions), ['stop-listening', 'begin', 'reply', 'record', 'close-caller']);
  });

  it('empties the queue of a caller that gets a reply: closing with a packet would be a reset', () => {
    const notStarted: Input = { on: 'not-started', errno: 2, reason: 'no criu', engineRemains: false };
    const inputs: [State, Input][] = [
      [initialState, decided({ kind: 'refuse', type: ReqType.DUMP, errno: 1, reason: 'no' })],
      [
        { ...judging, packet: 'queued' },
        { on: 'malformed', errno: 74, reason: 'garbage' },
      ],
      [{ ...starting, packet: 'queued' }, notStarted],
      [{ ...starting, packet: 'queued' }, end],
      [{ ...starting, packet: 'queued' }, late],
      [
        { ...starting, packet: 'queued' },
        { on: 'answered', success: true },
      ],
    ];
    for (const [state, input] of inputs) {
      assert.equal(
        names(step(state, input).actions).filter((each) => each === 'discard').length,
        1,
        input.on,
      );
      if (!('packet' in state)) continue;
      const taken = step({ ...state, packet: 'ours' }, input).actions;
      assert.ok(!names(taken).includes('discard'), input.on);
    }
  });

  it('is over after a stored answer, without an engine', () => {
    const { state, actions } = step({ ...starting, packet: 'queued' }, { on: 'answered', success: true });
    assert.equal(state.at, 'over');
    assert.deepEqual(names(actions), ['discard', 'forward', 'record', 'close-caller']);
    const next = step(
      { ...starting, request: { ...request, keepOpen: true }, packet: 'queued' },
      { on: 'answered', success: true },
    );
    assert.deepEqual(next.state, { at: 'idle', phase: 'next', engine: false });
  });

  it('dismisses an engine that is ready after its request has ended', () => {
    for (const input of [end, late]) {
      const { state } = step({ ...starting, packet: 'queued' }, input);
      assert.equal(state.at, 'rolling-back');
      assert.deepEqual(step(state, { on: 'engine-ready' }), { state, actions: [{ do: 'dismiss-engine' }] });
    }
  });

  it('goes to the state of the engine’s work with the first message of the engine', () => {
    const notify: Input = { on: 'engine-notify', script: 'pre-dump' };
    const dumping = step({ ...offered, packet: 'ours' }, notify).state;
    assert.deepEqual(dumping, { at: 'notifying', request, back: 'working' });
    const restoring = step({ ...offered, request: restore, packet: 'ours' }, notify).state;
    assert.deepEqual(restoring, { at: 'restoring', request: restore });
  });

  it('kills the tree of an engine that is lost before verification', () => {
    const lost: Input = { on: 'engine-end', end: { how: 'lost', reason: 'signal 9' } };
    for (const state of [
      { ...starting, request: restore, packet: 'queued' },
      { ...offered, request: restore, packet: 'ours' },
    ] as const) {
      assert.ok(names(step(state, lost).actions).includes('kill-tree'), state.at);
    }
  });
});
