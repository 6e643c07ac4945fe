/** The order in which a request is kept, taken and sent, so that a SIGKILL between any two actions loses and doubles nothing. */
import assert from 'node:assert/strict';
import { EBADRQC } from '../../../src/native/errnos.ts';
import type { Decision, RelayPlan } from '../../../src/policy/authorize.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { initialState, step } from '../../../src/session/machine/machine.ts';
import type { Action, Input, State } from '../../../src/session/machine/states.ts';
import { authorized } from './support/authorized.ts';

const plan: RelayPlan = { peerFds: [], openedBy: 'service', engineFds: [], lendLogDirectory: false };
const request = authorized(ReqType.DUMP);
const restore = { ...authorized(ReqType.RESTORE), engine: 'confined', scope: 'restore' } as const;
const decided = (decision: Decision): Input => ({ on: 'decided', decision });
const relayed = decided({ kind: 'relay', request, plan });
const judging = { at: 'judging', phase: 'first', engine: false } as const;
const starting = { at: 'starting', request } as const;
const offered = { at: 'offered', request, by: 'this-start' } as const;
const end: Input = { on: 'caller-end' };
const late: Input = { on: 'deadline', reason: 'late' };

const names = (actions: readonly Action[]): string[] => actions.map((action) => action.do);

describe('the delivery of a request', () => {
  it('is kept from the moment in which its packet begins to be judged', () => {
    assert.deepEqual(step(initialState, { on: 'packet' }), {
      state: { ...judging, packet: 'queued' },
      actions: [{ do: 'stop-listening' }, { do: 'keep' }],
    });
    const { state, actions } = step({ ...judging, packet: 'queued' }, relayed);
    assert.deepEqual(state, { ...starting, packet: 'queued' });
    assert.deepEqual(names(actions), ['stop-listening', 'begin', 'start-engine']);
  });

  it('is kept before its engine is started, where it was judged at once', () => {
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

  it('says that its engine may have it before it is taken from its caller, and sends it last', () => {
    assert.deepEqual(step({ ...starting, packet: 'queued' }, { on: 'engine-ready' }), {
      state: { ...offered, packet: 'ours' },
      actions: [{ do: 'save', state: { ...offered, packet: 'queued' } }, { do: 'discard' }, { do: 'send' }],
    });
  });

  it('takes no other packet from the queue where its own was taken before', () => {
    assert.deepEqual(names(step({ ...starting, packet: 'ours' }, { on: 'engine-ready' }).actions), [
      'save',
      'send',
    ]);
  });

  it('has another engine in the turn of one that left it unread', () => {
    assert.deepEqual(step({ ...offered, packet: 'ours' }, { on: 'unread' }), {
      state: { ...starting, packet: 'ours' },
      actions: [{ do: 'restart-engine', request }],
    });
  });

  it('is judged anew, after the state says so and before anything else, where an earlier start has offered it', () => {
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

  it('is judged anew, too, where it is a CHECK, whose engine says only that it failed', () => {
    const check = authorized(ReqType.CHECK);
    const failed: Input = { on: 'engine-final', success: false, errno: 0, reply: Buffer.from('no') };
    const state: State = { ...offered, request: check, by: 'an-earlier-start', packet: 'ours' };
    assert.equal(step(state, failed).state.at, 'judging');
    assert.equal(step({ ...state, by: 'this-start' }, failed).state.at, 'draining');
    assert.equal(step({ ...state, request }, failed).state.at, 'draining');
  });

  it('is never handed over where its packet was taken: the engine would read one that was never judged', () => {
    const handOver = decided({ kind: 'hand-over', request });
    assert.equal(step({ ...judging, packet: 'queued' }, handOver).state.at, 'handed-over');
    const { state, actions } = step({ ...judging, packet: 'ours' }, handOver);
    assert.equal(state.at, 'over');
    assert.deepEqual(names(actions), ['stop-listening', 'begin', 'reply', 'record', 'close-caller']);
  });

  it('leaves no packet in the queue of a caller that gets a reply: closing it would be a reset', () => {
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

  it('is over with an answer that is known, and waits for no engine', () => {
    const { state, actions } = step({ ...starting, packet: 'queued' }, { on: 'answered', success: true });
    assert.equal(state.at, 'over');
    assert.deepEqual(names(actions), ['discard', 'forward', 'record', 'close-caller']);
    const next = step(
      { ...starting, request: { ...request, keepOpen: true }, packet: 'queued' },
      { on: 'answered', success: true },
    );
    assert.deepEqual(next.state, { at: 'idle', phase: 'next', engine: false });
  });

  it('gives nothing to an engine that is ready when its request has ended', () => {
    for (const input of [end, late]) {
      const { state } = step({ ...starting, packet: 'queued' }, input);
      assert.equal(state.at, 'rolling-back');
      assert.deepEqual(step(state, { on: 'engine-ready' }), { state, actions: [{ do: 'dismiss-engine' }] });
    }
  });

  it('ends in the state of the engine’s work with the first word of the engine', () => {
    const notify: Input = { on: 'engine-notify', script: 'pre-dump' };
    const dumping = step({ ...offered, packet: 'ours' }, notify).state;
    assert.deepEqual(dumping, { at: 'notifying', request, back: 'working' });
    const restoring = step({ ...offered, request: restore, packet: 'ours' }, notify).state;
    assert.deepEqual(restoring, { at: 'restoring', request: restore });
  });

  it('ends whatever an engine left that was lost before it was verified', () => {
    const lost: Input = { on: 'engine-end', end: { how: 'lost', reason: 'signal 9' } };
    for (const state of [
      { ...starting, request: restore, packet: 'queued' },
      { ...offered, request: restore, packet: 'ours' },
    ] as const) {
      assert.ok(names(step(state, lost).actions).includes('kill-tree'), state.at);
    }
  });
});
