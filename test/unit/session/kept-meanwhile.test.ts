/** A second restart: of a connection with earlier requests, and of a connection that was resumed before. */
import assert from 'node:assert/strict';
import { EnginePool } from '../../../src/engine/engine-pool.ts';
import { KeptAnswers } from '../../../src/engine/kept-answers.ts';
import { native, type SeqpacketSocket, Watch } from '../../../src/native/binding.ts';
import { userOf } from '../../../src/proc/connection-user.ts';
import { decodeResponse, encodeRequest, encodeResponse } from '../../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { judge } from '../../../src/session/caller/judge.ts';
import { resumptionOf } from '../../../src/session/keep/resumption.ts';
import { SessionFile, type SessionSnapshot } from '../../../src/session/keep/session-file.ts';
import { Session } from '../../../src/session/session.ts';
import type { FdStore, StoreName } from '../../../src/systemd/fd-store.ts';
import { sends } from '../../scenario/support/client.ts';
import { eventually, ServiceUnderTest } from '../../scenario/support/service.ts';
import { authorized, decided } from './support/authorized.ts';
import { sessionContext } from './support/context.ts';
import { Resumed } from './support/resumed.ts';
import { Store } from './support/store.ts';

const check: CriuReq = { type: ReqType.CPUINFO_CHECK, keep_open: true, opts: { images_dir_fd: -1 } };
const checked: CriuResp = { type: ReqType.CPUINFO_CHECK, success: true };
const version: CriuReq = { type: ReqType.VERSION, keep_open: true };
const answered: CriuResp = { type: ReqType.VERSION, success: true };
const request = authorized(ReqType.DUMP);

/** A store of answers with one answer to every question. */
class Known extends KeptAnswers {
  override question(type: number) {
    const answer = type === ReqType.VERSION ? Buffer.from(encodeResponse(answered)) : undefined;
    return { answer, keep() {} };
  }
}

/** The request is in its caller's queue, and no engine has begun. */
function isUnread({ state }: SessionSnapshot): boolean {
  return state.at === 'idle' || ('packet' in state && state.packet === 'queued' && state.at !== 'offered');
}

describe('the stored session of a connection', () => {
  let criu: ServiceUnderTest;
  let pages: SessionSnapshot[];
  let store: Store;
  let caller: SeqpacketSocket;
  let replies: CriuResp[];

  beforeEach(() => {
    criu = new ServiceUnderTest();
    store = new Store();
    pages = [];
    replies = [];
  });

  afterEach(async () => {
    await criu.stop();
  });

  /** A file that notes its pages. */
  function makeFile(): SessionFile {
    const file = SessionFile.make();
    const write = file.write.bind(file);
    file.write = (snapshot) => {
      write(snapshot);
      pages.push(snapshot);
      store.look();
    };
    return file;
  }

  function open(kept: FdStore = store, judgeAs = judge): Promise<void> {
    const engine = { criu: criu.script, ahead: 0 };
    const { ours, theirs } = native.socketpair();
    caller = native.adopt(theirs);
    caller.watch(Watch.readable, () => {
      const packet = caller.receive(4096);
      const decoded = packet && decodeResponse(packet.data, 'strict');
      if (decoded?.kind === 'response') replies.push(decoded.message);
      if (!packet) caller.close();
    });
    const pool = new EnginePool(engine);
    const context = sessionContext(engine, undefined, {
      pool,
      store: kept,
      answers: new Known(engine),
      judge: judgeAs,
      makeFile,
    });
    return new Promise<void>((resolve) => {
      new Session(1, ours, userOf(ours), context, () => resolve());
    });
  }

  it('names no engine of an earlier request after a hand-over', async () => {
    criu.engine('receive', sends(checked), 'receive');
    let handsOver = false;
    const over = open(store, (...asked) =>
      handsOver ? decided({ kind: 'hand-over', request }) : judge(...asked),
    );
    caller.send(encodeRequest(check));
    await eventually('it has answered', () => replies.length === 1);
    const served = pages.at(-1)?.engine?.pid;
    assert.ok(served !== undefined);
    // This process reads the packet, so that the engine does not.
    caller.watch(0);
    handsOver = true;
    criu.engine('receive');
    caller.send(encodeRequest({ type: ReqType.DUMP, opts: { images_dir_fd: -1 } }));
    await over;
    const handedOver = pages.filter(({ state }) => state.at === 'handed-over');
    assert.ok(handedOver.length > 0);
    for (const { engine } of handedOver) assert.notEqual(engine?.pid, served);
    caller.close();
  });

  for (const what of ['its connection', 'its engine'] as const) {
    it(`is there before an engine has the request, however long systemd takes to receive ${what}`, async () => {
      criu.engine('receive', sends(checked));
      let tell = () => {};
      const keep = store.keep.bind(store);
      const asked: StoreName[] = [];
      const slow: FdStore = {
        keeps: true,
        keep: (name, fds) => {
          asked.push(name);
          const copies = fds.map((fd) => native.duplicate(fd));
          const now = (): boolean => {
            const kept = keep(name, copies);
            for (const copy of copies) copy.close();
            return kept;
          };
          if ((name.engine === undefined) === (what === 'its engine')) return now();
          return new Promise((resolve) => {
            tell = () => resolve(now());
          });
        },
        drop: (name) => store.drop(name),
        told: async () => {},
      };
      const over = open(slow);
      caller.send(encodeRequest({ ...check, keep_open: false }));
      await eventually('it was to be kept', () =>
        asked.some((name) => (name.engine === undefined) === (what === 'its connection')),
      );
      // Let other events run, those of the engine included.
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setTimeout(resolve, 2));
      assert.deepEqual(criu.received(), []);
      assert.ok(pages.every(isUnread));
      tell();
      await over;
      assert.equal(criu.received().length, 1);
      await eventually('it is answered', () => replies.length === 1);
      assert.equal(replies[0]!.success, true);
      assert.ok(!pages.every(isUnread));
      caller.close();
    });
  }

  it('has the request itself until it is judged again', async () => {
    const packet = encodeRequest({ ...check, keep_open: false });
    criu.engine('receive', sends(checked));
    let droppedBefore: unknown;
    const resumed: Resumed = new Resumed({
      state: { at: 'starting', request, packet: 'queued' },
      packet,
      queued: [packet],
      criu: criu.script,
      makeFile,
      context: {
        judge: (...asked) => {
          droppedBefore = [...resumed.dropped];
          return judge(...asked);
        },
      },
    });
    assert.deepEqual(await resumed.all(), [checked]);
    assert.deepEqual(droppedBefore, []);
    assert.ok(pages.some(({ state }) => state.at === 'idle'));
  });

  it('is dropped once the request was answered with a stored answer', async () => {
    criu.engine('receive', sends(checked));
    const over = open();
    for (const message of [check, version]) {
      const before = replies.length;
      caller.send(encodeRequest(message));
      await eventually('it is answered', () => replies.length > before);
    }
    const last = pages.at(-1)!;
    assert.deepEqual(last.state, { at: 'idle', phase: 'next', engine: false });
    assert.equal(resumptionOf(last.state, false), 'go-on');
    caller.close();
    await over;
  });
});
