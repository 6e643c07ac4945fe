import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import type { Decision, RelayPlan } from '../../../src/policy/authorize.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { initialActions, initialState, phaseOf, step } from '../../../src/session/machine/machine.ts';
import type { Action, Input, State } from '../../../src/session/machine/states.ts';
import { authorized, decided } from './support/authorized.ts';

const plan: RelayPlan = { peerFds: [], openedBy: 'service', engineFds: [], lendLogDirectory: false };

function relay(type: number, more: { keepOpen?: boolean; engineFds?: number[] } = {}): Input {
  const decision: Decision = {
    kind: 'relay',
    request: authorized(type, more.keepOpen),
    plan: { ...plan, engineFds: more.engineFds ?? [] },
  };
  return decided(decision);
}

const refusal: Input = {
  on: 'decided',
  decision: { kind: 'refuse', type: ReqType.DUMP, errno: 1, reason: 'no' },
};
const handOver = decided({ kind: 'hand-over', request: authorized(ReqType.DUMP) });
const lost: Input = { on: 'engine-end', end: { how: 'lost', reason: 'signal 9' } };
const left: Input = { on: 'engine-end', end: { how: 'success', reason: 'left' } };
const done: Input = { on: 'engine-final', success: true, errno: 0, reply: Buffer.from('yes') };
const failed: Input = { on: 'engine-final', success: false, errno: 1, reply: Buffer.from('no') };
const notify: Input = { on: 'engine-notify', script: 'pre-dump' };
const answer: Input = { on: 'decided', decision: { kind: 'answer' } };

/** The actions of the delivery, which delivery.test.ts covers. */
const delivery: ReadonlySet<Action['do']> = new Set(['begin', 'keep', 'save', 'discard', 'send']);

/**
 * Runs inputs from the start. Returns the last state and the names of all actions since the start, except those of the delivery.
 * An engine is ready at once, unless the input behind its request says that it could not be started.
 */
function run(...inputs: Input[]): { state: State; did: string[]; last: readonly Action[] } {
  let state = initialState;
  let last: readonly Action[] = initialActions;
  const did: string[] = [];
  inputs.forEach((input, index) => {
    const next = step(state, input);
    state = next.state;
    last = next.actions.filter((action) => !delivery.has(action.do));
    did.push(...last.map((action) => action.do));
    if (state.at === 'starting' && !inputs.slice(index + 1).some(({ on }) => on === 'not-started'))
      state = step(state, { on: 'engine-ready' }).state;
  });
  return { state, did, last };
}

function count(did: readonly string[], name: string): number {
  return did.filter((each) => each === name).length;
}

describe('session machine', () => {
  it('relays a request, forwards its final reply, and closes when the engine has exited', () => {
    const { state, did } = run(relay(ReqType.DUMP), done, left);
    assert.equal(state.at, 'over');
    assert.deepEqual(did, ['stop-listening', 'start-engine', 'forward', 'record', 'close-caller']);
  });

  it('serves one request: after the final reply nothing more is read', () => {
    const { state } = run(relay(ReqType.DUMP), done);
    assert.equal(phaseOf(state), undefined);
    assert.equal(state.at, 'draining');
  });

  it('serves another request after keep_open, with the same engine', () => {
    const first = run(relay(ReqType.VERSION, { keepOpen: true }), done);
    assert.deepEqual(first.state, { at: 'idle', phase: 'next', engine: true });
    const { last } = run(relay(ReqType.VERSION, { keepOpen: true }), done, relay(ReqType.VERSION));
    assert.deepEqual(
      last.map((action) => (action.do === 'start-engine' ? action.fresh : action.do)),
      ['stop-listening', false],
    );
  });

  it('serves another request after keep_open if the request failed, as CRIU does', () => {
    const { state } = run(relay(ReqType.CPUINFO_CHECK, { keepOpen: true }), failed);
    assert.deepEqual(state, { at: 'idle', phase: 'next', engine: true });
  });

  it('waits for the next round after a successful PRE_DUMP, and not after a failed one', () => {
    assert.equal(phaseOf(run(relay(ReqType.PRE_DUMP), done).state), 'pre-dump-loop');
    assert.equal(run(relay(ReqType.PRE_DUMP), failed).state.at, 'draining');
  });

  it('looks at the tree after a failed PRE_DUMP, in whose engine only a child knew whether it has rolled back', () => {
    for (const type of [ReqType.PRE_DUMP, ReqType.SINGLE_PRE_DUMP]) {
      const request = { ...authorized(type), target: 500, worksInChild: true as const };
      const { last } = run(decided({ kind: 'relay', request, plan }), failed, left);
      const check = last.find((action) => action.do === 'check-tree');
      assert.equal(check?.do === 'check-tree' && check.left.claims, 'rolled back');
      const { did } = run(decided({ kind: 'relay', request, plan }), done, left);
      assert.equal(count(did, 'check-tree'), 0);
    }
  });

  it('does not wait for a next round after SINGLE_PRE_DUMP', () => {
    assert.equal(run(relay(ReqType.SINGLE_PRE_DUMP), done).state.at, 'draining');
  });

  it('hands the DUMP that ends a loop over to a fresh engine and dismisses the old one', () => {
    const { state, last } = run(relay(ReqType.PRE_DUMP), done, handOver);
    assert.equal(state.at, 'handed-over');
    assert.deepEqual(
      last.map((action) => action.do),
      ['stop-listening', 'dismiss-engine', 'hand-over'],
    );
  });

  it('starts a fresh engine that must be given descriptors', () => {
    const { last } = run(relay(ReqType.PRE_DUMP), done, relay(ReqType.PRE_DUMP, { engineFds: [7] }));
    assert.deepEqual(
      last.map((action) => action.do),
      ['stop-listening', 'dismiss-engine', 'start-engine'],
    );
  });

  it('starts a fresh engine if the previous engine exited between two requests', () => {
    const { last } = run(relay(ReqType.PRE_DUMP), done, left, relay(ReqType.DUMP));
    const started = last.find((action) => action.do === 'start-engine');
    assert.equal(started?.do === 'start-engine' && started.fresh, true);
  });

  it('forwards a notification and passes its answer back', () => {
    const { did, state } = run(relay(ReqType.DUMP), notify, answer);
    assert.equal(state.at, 'working');
    assert.deepEqual(did.slice(2), ['forward', 'listen', 'stop-listening', 'answer']);
  });

  it('fails a notification that is answered with something else', () => {
    for (const input of [refusal, { on: 'malformed', errno: 1, reason: '' } as const]) {
      const { did, state } = run(relay(ReqType.DUMP), notify, input);
      assert.equal(state.at, 'working');
      assert.equal(did.at(-1), 'answer-failure');
      assert.equal(count(did, 'reply'), 0);
    }
  });

  it('lets CRIU roll back when the caller leaves during a notification', () => {
    const { did, state } = run(relay(ReqType.DUMP), notify, { on: 'caller-end' });
    assert.equal(did.at(-1), 'dismiss-engine');
    assert.equal(state.at, 'rolling-back');
  });

  it('does not listen for an answer of a caller that has left', () => {
    const { did } = run(relay(ReqType.DUMP), { on: 'caller-end' }, notify);
    assert.equal(count(did, 'listen'), 0);
  });

  it('still forwards the reply to a caller that closed only its sending half', () => {
    const { did } = run(relay(ReqType.DUMP), { on: 'caller-end' }, done, left);
    assert.equal(count(did, 'forward'), 1);
    assert.equal(count(did, 'dismiss-engine'), 1);
  });

  it('reads no next request of a caller that has left', () => {
    assert.equal(run(relay(ReqType.PRE_DUMP), { on: 'caller-end' }, done).state.at, 'draining');
  });

  it('replies once for an engine that ends before its final reply', () => {
    for (const before of [[], [notify]]) {
      for (const end of [lost, left]) {
        const { did, state, last } = run(relay(ReqType.RESTORE), ...before, end);
        assert.equal(state.at, 'over');
        assert.equal(count(did, 'reply'), 1);
        assert.equal(last[0]?.do === 'reply' && last[0].type, ReqType.RESTORE);
      }
    }
  });

  it('sends no reply of its own after the engine’s', () => {
    assert.equal(count(run(relay(ReqType.DUMP), failed, lost).did, 'reply'), 0);
  });

  it('replies after a hand-over only for an engine that was lost', () => {
    assert.equal(count(run(handOver, left).did, 'reply'), 0);
    assert.equal(count(run(handOver, lost).did, 'reply'), 1);
    const failure: Input = { on: 'engine-end', end: { how: 'failure', reason: 'status 1' } };
    assert.equal(count(run(handOver, failure).did, 'reply'), 0);
    assert.deepEqual(run(handOver, failure).last[0], { do: 'record', result: 'failed' });
  });

  it('replies once and closes for a request that is refused, malformed or late', () => {
    const inputs: Input[] = [
      refusal,
      { on: 'malformed', errno: 74, reason: 'garbage' },
      { on: 'deadline', reason: 'late' },
    ];
    for (const input of inputs) {
      const { did, state } = run(input);
      assert.equal(state.at, 'over');
      assert.equal(count(did, 'reply'), 1);
      assert.equal(did.at(-1), 'close-caller');
    }
  });

  it('tells a caller without a request to connect again when the service stops', () => {
    const { state, actions } = step(initialState, { on: 'stopping', reason: 'stops' });
    assert.equal(state.at, 'over');
    const reply = { do: 'reply', type: ReqType.EMPTY, errno: os.errno.EAGAIN, reason: 'stops' };
    assert.deepEqual(
      actions.find((action) => action.do === 'reply'),
      reply,
    );
  });

  it('lets a stop wait for a request at work', () => {
    const { did, state } = run(relay(ReqType.DUMP), { on: 'stopping', reason: 'stops' });
    assert.equal(state.at, 'offered');
    assert.equal(count(did, 'reply'), 0);
  });

  it('dismisses the waiting engine when the next request of a loop is refused', () => {
    const { did, state } = run(relay(ReqType.PRE_DUMP), done, refusal);
    assert.equal(state.at, 'draining');
    assert.deepEqual(did.slice(-2), ['dismiss-engine', 'close-caller']);
  });

  it('sends no reply to a caller that leaves without a request', () => {
    assert.equal(count(run({ on: 'caller-end' }).did, 'reply'), 0);
  });

  it('replies once if no engine could be started', () => {
    const input: Input = { on: 'not-started', errno: 2, reason: 'no criu', engineRemains: false };
    for (const start of [relay(ReqType.DUMP), handOver]) {
      const { did, state } = run(start, input);
      assert.equal(state.at, 'over');
      assert.equal(count(did, 'reply'), 1);
    }
  });

  it('closes the connection when the engine closes its end, though it may run on (exec_cmd)', () => {
    const { state, did } = run(relay(ReqType.RESTORE), done, { on: 'engine-hangup' });
    assert.equal(state.at, 'draining');
    assert.equal(did.at(-1), 'close-caller');
  });

  it('takes a final reply that CRIU sends without waiting for an answer', () => {
    assert.equal(run(relay(ReqType.DUMP), notify, failed).state.at, 'draining');
  });

  it('stays over, whatever the input', () => {
    const inputs: Input[] = [
      relay(ReqType.DUMP),
      done,
      lost,
      { on: 'caller-end' },
      { on: 'deadline', reason: '' },
    ];
    for (const input of inputs) {
      const { state, actions } = step({ at: 'over' }, input);
      assert.equal(state.at, 'over');
      assert.ok(actions.every((action) => action.do === 'record-unexpected'));
    }
  });

  it('records an input that cannot happen in a state, and changes nothing', () => {
    const working: State = { at: 'working', request: authorized(ReqType.DUMP) };
    const notStarted: Input = { on: 'not-started', errno: 2, reason: 'no criu', engineRemains: false };
    for (const [state, input] of [
      [initialState, done],
      [initialState, notStarted],
      [working, { on: 'verified' }],
      [working, answer],
      [{ at: 'over' }, answer],
    ] as const) {
      assert.deepEqual(step(state, input), {
        state,
        actions: [{ do: 'record-unexpected', at: state.at, on: input.on }],
      });
    }
  });

  it('does not record an input that a race can bring', () => {
    const rollingBack = run(relay(ReqType.DUMP), { on: 'caller-end' }).state;
    for (const [state, input] of [
      [rollingBack, { on: 'caller-end' }],
      [rollingBack, notify],
      [{ at: 'over' }, lost],
      [{ at: 'draining' }, { on: 'caller-end' }],
    ] as const) {
      assert.deepEqual(step(state, input), { state, actions: [] });
    }
  });

  it('is over if no engine could be started for a request that has ended meanwhile', () => {
    const notStarted: Input = { on: 'not-started', errno: 2, reason: 'no criu', engineRemains: false };
    const { state, actions } = step({ at: 'draining' }, notStarted);
    assert.equal(state.at, 'over');
    assert.deepEqual(actions, [{ do: 'close-caller' }]);
    const remains = step({ at: 'draining' }, { ...notStarted, engineRemains: true });
    assert.deepEqual(remains, { state: { at: 'draining' }, actions: [{ do: 'dismiss-engine' }] });
  });
});

describe('session machine, when something takes too long', () => {
  const late: Input = { on: 'deadline', reason: 'late' };
  const dumping = decided({ kind: 'relay', request: { ...authorized(ReqType.DUMP), target: 7 }, plan });

  /** Case, inputs up to the cut, inputs of the engine after it; expected reply, record, and whether the tree is examined. */
  const table: [
    string,
    Input[],
    Input[],
    { reply: string[]; result: string; errno?: number; looked: boolean },
  ][] = [
    [
      'an answer, and CRIU rolls back',
      [notify, late],
      [failed, left],
      { reply: ['reply'], result: 'failed', errno: 110, looked: true },
    ],
    [
      'the operation, and CRIU rolls back',
      [late],
      [failed, left],
      { reply: ['reply'], result: 'failed', errno: 110, looked: true },
    ],
    [
      'the operation, which CRIU has finished by then',
      [late],
      [done, left],
      { reply: ['forward'], result: 'done', looked: false },
    ],
    [
      'the operation, and its engine leaves without a word',
      [late],
      [left],
      { reply: ['reply'], result: 'failed', errno: 110, looked: true },
    ],
    [
      'the operation, and its engine is killed meanwhile',
      [late],
      [lost],
      { reply: ['reply'], result: 'failed', errno: 5, looked: true },
    ],
    [
      'the rolling back, too',
      [late, late],
      [failed, left],
      { reply: ['reply'], result: 'failed', errno: 110, looked: true },
    ],
  ];
  for (const [what, before, after, expected] of table) {
    it(`sends one reply, writes one record, and examines the tree if needed: ${what}`, () => {
      const cut = run(dumping, ...before);
      assert.equal(count(cut.did, 'dismiss-engine'), 1);
      const all = [...before, ...after];
      const actions = all.flatMap((_, i) => run(dumping, ...all.slice(0, i + 1)).last);
      const replies = actions.filter(({ do: name }) => name === 'reply' || name === 'forward');
      assert.deepEqual(
        replies.slice(before.includes(notify) ? 1 : 0).map((action) => action.do),
        expected.reply,
      );
      const records = actions.filter((action) => action.do === 'record');
      assert.deepEqual(
        records.map(({ result, errno }) => [result, errno]),
        [[expected.result, expected.errno]],
      );
      assert.equal(
        actions.some((action) => action.do === 'check-tree'),
        expected.looked,
      );
      assert.equal(run(dumping, ...all).state.at, 'over');
    });
  }

  it('reports and records a failure as that of the deadline, whether or not the caller has left, in any order', () => {
    const end: Input = { on: 'caller-end' };
    for (const before of [[late], [late, end], [end, late], [end, late, end]]) {
      const { last } = run(dumping, ...before, failed);
      const reason = 'DUMP: late';
      assert.deepEqual(last, [
        { do: 'reply', type: ReqType.DUMP, errno: 110, reason },
        { do: 'record', result: 'failed', errno: 110, reason },
      ]);
    }
  });

  it('gives CRIU the time of a rollback after the deadline of a caller that had left', () => {
    const { last, state } = run(dumping, { on: 'caller-end' }, late);
    assert.equal(state.at, 'rolling-back');
    assert.ok(last.some((action) => action.do === 'await-rollback'));
  });

  it('forwards no notification of an engine that is to roll back', () => {
    const { did, state } = run(dumping, late, notify);
    assert.equal(count(did, 'forward'), 0);
    assert.equal(state.at, 'rolling-back');
  });

  it('serves no further request after the deadline', () => {
    assert.equal(run(relay(ReqType.PRE_DUMP), late, done).state.at, 'draining');
  });

  it('does not cut off an engine that owns the connection of its caller', () => {
    assert.equal(run(handOver, late).state.at, 'handed-over');
  });

  it('reports the deadline to a request that waited for an engine', () => {
    const cancelled: Input = { on: 'not-started', errno: 125, reason: 'cancelled', engineRemains: false };
    const { last } = run(dumping, late, cancelled);
    assert.deepEqual(last[0], { do: 'reply', type: ReqType.DUMP, errno: 110, reason: 'DUMP: late' });
  });

  it('examines the tree of a caller that left after the engine has gone', () => {
    const { did } = run(dumping, { on: 'caller-end' }, failed, left);
    assert.equal(did.filter((each) => each === 'check-tree').length, 1);
    assert.equal(did.at(-2), 'check-tree');
    assert.equal(count(did, 'forward'), 1);
  });

  it('examines no tree without a cut', () => {
    for (const final of [done, failed]) assert.equal(count(run(dumping, final, left).did, 'check-tree'), 0);
  });
});

describe('session machine, restoring for a confined caller', () => {
  const restore = (notifies: boolean): Input =>
    decided({
      kind: 'relay',
      request: { ...authorized(ReqType.RESTORE), engine: 'confined', scope: 'restore', notifies },
      plan: { ...plan, openedBy: 'engine' },
    });
  const preResume: Input = { on: 'engine-notify', script: 'pre-resume' };
  const postResume: Input = { on: 'engine-notify', script: 'post-resume' };
  const verified: Input = { on: 'verified' };
  const letRun: Input = { on: 'let-run' };
  const unverified: Input = { on: 'unverified', reason: 'has the uids 0' };

  it('verifies at pre-resume before anything is acknowledged', () => {
    const { did, state } = run(restore(false), preResume);
    assert.equal(state.at, 'verifying');
    assert.deepEqual(did.slice(2), ['verify']);
    assert.deepEqual(run(restore(false), preResume, verified).did.slice(2), ['verify', 'acknowledge']);
  });

  it('lets a verified tree run when its engine has gone, and tells the caller then', () => {
    const { did, state } = run(restore(false), preResume, verified, postResume, done);
    assert.equal(state.at, 'leaving');
    assert.deepEqual(did.slice(2), ['verify', 'acknowledge', 'acknowledge', 'await-leaving']);
    const after = run(restore(false), preResume, verified, postResume, done, left, letRun);
    assert.deepEqual(after.did.slice(6), [
      'let-run',
      'stop-listening',
      'send-reply',
      'record',
      'close-caller',
    ]);
    const reply = after.last.find((action) => action.do === 'send-reply');
    assert.equal(reply?.do === 'send-reply' && Buffer.from(reply.reply, 'base64').toString(), 'yes');
  });

  it('sends post-resume to a caller with notifications when the tree runs, and replies after the answer', () => {
    const inputs = [restore(true), preResume, verified, answer, postResume, done, left, letRun];
    const { did, state } = run(...inputs);
    assert.deepEqual(did.slice(2), [
      'verify',
      'forward',
      'listen',
      'stop-listening',
      'answer',
      'acknowledge',
      'await-leaving',
      'let-run',
      'notify-resumed',
      'listen',
    ]);
    assert.equal(phaseOf(state), 'notify');
    for (const ending of [answer, { on: 'caller-end' }, { on: 'deadline', reason: 'late' }] as const) {
      const { last, state: end } = run(...inputs, ending);
      assert.equal(end.at, 'over');
      assert.equal(last.at(-3)?.do, 'send-reply');
    }
  });

  it('kills only the engine if it does not exit after its final reply', () => {
    const late: Input = { on: 'deadline', reason: 'late' };
    const { did, state } = run(restore(false), preResume, verified, done, late);
    assert.equal(state.at, 'leaving');
    assert.deepEqual(did.slice(-2), ['await-leaving', 'kill-engine']);
  });

  it('kills a tree that fails the second verification', () => {
    const { did, state } = run(restore(false), preResume, verified, done, left, unverified);
    assert.equal(state.at, 'over');
    assert.deepEqual(did.slice(-4), ['kill-tree', 'reply', 'record', 'close-caller']);
  });

  it('kills a verified, still frozen tree whose engine does not finish in time', () => {
    const late: Input = { on: 'deadline', reason: 'late' };
    assert.equal(count(run(restore(false), preResume, verified, late, late).did, 'kill-tree'), 1);
  });

  it('keeps the service’s notifications apart from the caller’s', () => {
    assert.deepEqual(run(restore(false), notify).did.slice(2), ['acknowledge']);
    assert.deepEqual(run(restore(true), notify).did.slice(2), ['forward', 'listen']);
    assert.deepEqual(run(restore(true), preResume, verified).did.slice(2), ['verify', 'forward', 'listen']);
  });

  it('kills a tree that fails verification, with one reply and no acknowledgement', () => {
    const { did, state, last } = run(restore(false), preResume, unverified);
    assert.deepEqual(did.slice(2), ['verify', 'kill-tree', 'reply', 'record', 'close-caller']);
    assert.equal(state.at, 'draining');
    assert.equal(last[1]?.do === 'reply' && last[1].reason.includes('has the uids 0'), true);
  });

  it('kills a tree whose engine replies before verification', () => {
    for (const inputs of [[done], [preResume, done]]) {
      const { did } = run(restore(false), ...inputs);
      assert.equal(count(did, 'kill-tree'), 1);
      assert.equal(count(did, 'forward'), 0);
      assert.equal(count(did, 'reply'), 1);
    }
  });

  it('kills the tree of an engine that is lost before its final reply, at any point', () => {
    for (const before of [[], [notify], [preResume], [preResume, verified]]) {
      const { did, state } = run(restore(false), ...before, lost);
      assert.equal(state.at, 'over');
      assert.equal(count(did, 'kill-tree'), 1);
      assert.equal(count(did, 'reply'), 1);
    }
  });

  it('adds a warning to a success, and to nothing else', () => {
    const request = { ...authorized(ReqType.DUMP), warning: 'beware' };
    const warned = decided({ kind: 'relay', request, plan });
    const warningIn = (...inputs: Input[]) => {
      const forwarded = run(warned, ...inputs).last.find((action) => action.do === 'forward');
      return forwarded?.do === 'forward' && forwarded.warning;
    };
    assert.equal(warningIn(done), 'beware');
    assert.equal(warningIn(failed), undefined);
    assert.equal(warningIn(notify), undefined);
  });

  it('kills the tree of a failed restore', () => {
    const { did } = run(restore(false), failed, left);
    assert.deepEqual(did.slice(2), ['kill-tree', 'forward', 'record', 'close-caller']);
  });

  it('leaves a verified tree alone after its engine is done', () => {
    assert.equal(count(run(restore(false), preResume, verified, done, lost).did, 'kill-tree'), 0);
  });

  it('verifies once: a second pre-resume is a notification like any other', () => {
    assert.equal(count(run(restore(false), preResume, verified, preResume).did, 'verify'), 1);
  });

  it('kills the tree of a caller that leaves before verification: an end of file would let CRIU resume it', () => {
    const inputs: [boolean, Input[]][] = [
      [false, []],
      [true, [notify]],
      [false, [preResume]],
    ];
    for (const [notifies, before] of inputs) {
      const { did, state } = run(restore(notifies), ...before, { on: 'caller-end' });
      assert.equal(state.at, 'draining');
      assert.equal(count(did, 'kill-tree'), 1);
      assert.equal(count(did, 'dismiss-engine'), 0);
    }
  });

  it('kills a tree whose engine closes its connection before verification', () => {
    for (const before of [[], [preResume]]) {
      assert.equal(count(run(restore(false), ...before, { on: 'engine-hangup' }).did, 'kill-tree'), 1);
    }
    assert.equal(
      count(run(restore(false), preResume, verified, { on: 'engine-hangup' }).did, 'kill-tree'),
      0,
    );
  });

  it('kills a tree that is not verified in time', () => {
    const late: Input = { on: 'deadline', reason: 'late' };
    for (const [notifies, before] of [
      [false, []],
      [true, [notify]],
      [false, [preResume]],
    ] as const) {
      const { did, state } = run(restore(notifies), ...before, late);
      assert.equal(state.at, 'draining');
      assert.equal(count(did, 'kill-tree'), 1);
      assert.equal(count(did, 'reply'), 1);
      assert.equal(count(did, 'dismiss-engine'), 0);
    }
  });

  it('does not verify trees that root restores', () => {
    const request = { ...authorized(ReqType.RESTORE), scope: 'restore' } as const;
    const input = decided({ kind: 'relay', request, plan });
    assert.deepEqual(run(input, preResume).did.slice(2), ['forward', 'listen']);
    assert.equal(count(run(input, done, left).did, 'kill-tree'), 0);
  });
});
