/** A restore that meets a pid of the service's own is tried once more. */
import assert from 'node:assert/strict';
import type { AuthorizedRequest, RelayPlan } from '../../../src/policy/authorize.ts';
import { encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { step } from '../../../src/session/machine/machine.ts';
import type { Action, Input, OwnPid, State } from '../../../src/session/machine/states.ts';
import { sends } from '../../scenario/support/client.ts';
import { ServiceUnderTest } from '../../scenario/support/service.ts';
import { authorized, decided } from './support/authorized.ts';
import { Resumed } from './support/resumed.ts';

const plan: RelayPlan = { peerFds: [], openedBy: 'service', engineFds: [], lendLogDirectory: false };
const roots = authorized(ReqType.RESTORE);
const users: AuthorizedRequest = { ...roots, engine: 'confined', scope: 'restore' };
const ownPid: OwnPid = { pid: 4711, holder: 'engine', givesWay: true };
const failed = (own?: OwnPid): Input => ({
  on: 'engine-final',
  success: false,
  errno: 17,
  reply: Buffer.from('no'),
  ...(own ? { ownPid: own } : {}),
});
const names = (actions: readonly Action[]): string[] => actions.map((action) => action.do);
const hints = (actions: readonly Action[]): (string | undefined)[] =>
  actions.map((action) => (action.do === 'forward' ? action.hint : undefined)).filter((hint) => hint);

describe('a restore that meets a pid of the service’s own', () => {
  for (const [who, request, at] of [
    ['root', roots, 'working'],
    ['a user', users, 'restoring'],
  ] as const) {
    const working: State = { at, request };
    const second: State = { at, request: { ...request, isSecondTry: true } };
    const judging: State = { at: 'judging', phase: 'first', engine: false, packet: 'ours', again: request };

    it(`of ${who} is tried again, and its caller is told nothing of the first try`, () => {
      const { state, actions } = step(working, failed(ownPid));
      assert.deepEqual(state, judging);
      assert.deepEqual(names(actions), ['save', 'abandon-engine', 'give-way']);
      assert.deepEqual(actions[0], { do: 'save', state: judging });
      assert.ok(actions[2]!.do === 'give-way' && actions[2].pid === 4711);
    });

    it(`of ${who} is judged anew, and then knows that it is the second try`, () => {
      const { state } = step(judging, decided({ kind: 'relay', request, plan }));
      assert.deepEqual(state, { at: 'starting', request: { ...request, isSecondTry: true }, packet: 'ours' });
    });

    it(`of ${who} is tried once more, not twice: the second failure is the reply, and names the holder`, () => {
      const { state, actions } = step(second, failed({ ...ownPid, givesWay: true }));
      assert.equal(state.at, 'draining');
      assert.match(hints(actions).join(), /^process 4711 is an engine of criu-service: restore again when/);
      const thread = step(second, failed({ ...ownPid, holder: 'thread' }));
      assert.match(hints(thread.actions).join(), /^process 4711 is a thread of criu-service .*restart criu/);
      assert.deepEqual(hints(step(second, failed({ ...ownPid, holder: 'gone' })).actions), []);
    });

    it(`of ${who} is not tried again if nothing can be given up`, () => {
      for (const own of [undefined, { ...ownPid, givesWay: false }])
        assert.equal(step(working, failed(own)).state.at, 'draining');
    });

    it(`of ${who} is told of pre-restore once, and of all other notifications`, () => {
      const asking: State = { at, request: { ...request, isSecondTry: true, notifies: true } };
      const told = (script: string) => names(step(asking, { on: 'engine-notify', script }).actions);
      assert.deepEqual(told('pre-restore'), ['acknowledge']);
      assert.deepEqual(told('setup-namespaces'), ['forward', 'listen']);
      const first: State = { at, request: { ...request, notifies: true } };
      assert.deepEqual(names(step(first, { on: 'engine-notify', script: 'pre-restore' }).actions), [
        'forward',
        'listen',
      ]);
    });

    it(`of ${who} is recorded as failed if the caller leaves between the tries`, () => {
      const { state, actions } = step(judging, { on: 'caller-end' });
      assert.equal(state.at, 'over');
      assert.deepEqual(
        actions.filter((action) => action.do === 'record').map((action) => action.result),
        ['failed'],
      );
    });
  }

  it('gets the request a second time, and the caller one reply', async () => {
    const restore: CriuReq = { type: ReqType.RESTORE, opts: { images_dir_fd: -1 } };
    const packet = encodeRequest(restore);
    // This process, which is the service here, is the holder, and stays.
    const refused: CriuResp = {
      type: ReqType.RESTORE,
      success: false,
      restore: { pid: -1 },
      cr_errno: 17,
      cr_errmsg: `Error (criu/cr-restore.c:1230): Can't fork for ${process.pid}: File exists\n`,
    };
    const service = new ServiceUnderTest();
    try {
      service.engine('receive', sends(refused));
      const left = {
        state: { at: 'judging', phase: 'first', engine: false, packet: 'ours' },
        packet,
      } as const;
      const replies = await new Resumed({ ...left, criu: service.script }).all();
      assert.equal(replies.length, 1);
      assert.match(replies[0]!.cr_errmsg!, /is a thread of criu-service itself: as root: systemctl restart/);
      assert.deepEqual(service.received(), [packet, packet]);
    } finally {
      await service.stop();
    }
  });
});
