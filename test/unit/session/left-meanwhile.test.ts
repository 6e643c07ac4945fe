/** Engines that exit while the next request is judged. Reading its caller can take any time. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { usualConnection } from '../../../src/engine/engine.ts';
import { EnginePool } from '../../../src/engine/engine-pool.ts';
import { native, Watch } from '../../../src/native/binding.ts';
import { type Caller, type CallerState, readOwnState } from '../../../src/proc/caller.ts';
import { CallerReader } from '../../../src/proc/caller-reader.ts';
import { userOf } from '../../../src/proc/connection-user.ts';
import { sleepsOn } from '../../../src/proc/sleeping.ts';
import { decodeResponse, encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import { Session } from '../../../src/session/session.ts';
import { sends } from '../../scenario/support/client.ts';
import { eventually, ServiceUnderTest } from '../../scenario/support/service.ts';
import { enginesOf } from '../support/engines.ts';
import { sessionContext } from './support/context.ts';
import { Store } from './support/store.ts';

const check: CriuReq = { type: ReqType.CPUINFO_CHECK, opts: { images_dir_fd: -1 } };
const checked: CriuResp = { type: ReqType.CPUINFO_CHECK, success: true };

/** A CallerReader whose readings last until the test releases them. */
class SlowReader extends CallerReader {
  /** True while a reading waits. */
  reads = false;
  goOn: () => void = () => {};

  override async read(caller: Caller): Promise<CallerState> {
    this.reads = true;
    await new Promise<void>((resolve) => {
      this.goOn = resolve;
    });
    this.reads = false;
    return super.read(caller);
  }
}

/** Waits for an engine to read: then it has read its script, which may be rewritten for the next engine. */
async function oneThatReads(script: string): Promise<number> {
  const one = (): number | undefined => enginesOf(script).find((pid) => sleepsOn(pid, usualConnection));
  await eventually('one reads', () => one() !== undefined);
  return one()!;
}

/** Kills the engine and waits for its end without running the event loop, so that no callback has run. */
function endNow(pid: number): void {
  process.kill(pid, os.signals.SIGKILL);
  while (!/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')));
}

describe('an engine that exits while the next request is judged', () => {
  let criu: ServiceUnderTest;

  beforeEach(() => {
    criu = new ServiceUnderTest();
  });

  afterEach(() => criu.stop());

  /**
   * A session whose requests are judged slowly.
   * @param full the caller's queue has no room for a reply until the caller reads.
   */
  function open(ahead: number, full = false) {
    const engine = { criu: criu.script, ahead };
    const reader = new SlowReader(readOwnState(), 1000);
    const pool = new EnginePool(engine);
    const { ours, theirs } = native.socketpair();
    const caller = native.adopt(theirs);
    const replies: unknown[] = [];
    while (full && ours.send(Buffer.from('no reply')));
    let read = () => {};
    const closed = new Promise<void>((resolve) => {
      read = () =>
        caller.watch(Watch.readable, () => {
          const packet = caller.receive(4096);
          const decoded = packet && decodeResponse(packet.data, 'strict');
          if (decoded?.kind === 'response') replies.push(JSON.parse(JSON.stringify(decoded.message)));
          if (packet) return;
          caller.close();
          resolve();
        });
    });
    if (!full) read();
    const store = new Store();
    const context = sessionContext(engine, undefined, { reader, pool, store });
    const over = new Promise<void>((resolve) => {
      new Session(1, ours, userOf(ours), context, () => resolve());
    });
    const judged = async (message: CriuReq): Promise<void> => {
      caller.send(encodeRequest(message));
      await eventually('it is judged', () => reader.reads);
    };
    return { reader, pool, store, replies, over: Promise.all([over, closed]), judged, read };
  }

  for (const heard of [false, true]) {
    it(`is replaced if it waited for a first request and its exit is ${heard ? 'known' : 'not yet known'}`, async () => {
      criu.engine('receive', sends(checked));
      const { pool, reader, judged, replies, over } = open(1);
      pool.refill();
      const waiting = await oneThatReads(criu.script);
      await judged(check);
      endNow(waiting);
      if (heard) await eventually('its exit status was read', () => !existsSync(`/proc/${waiting}`));
      reader.goOn();
      await over;
      assert.deepEqual(replies, [checked]);
      assert.deepEqual(criu.received(), [encodeRequest(check)]);
      pool.close();
    });
  }

  /** Two requests on one connection, and an engine that serves the first. It ends while the second is judged. */
  async function endAfterOne() {
    criu.engine('receive', sends(checked), 'receive');
    const { reader, store, judged, replies, over } = open(0);
    await judged({ ...check, keep_open: true });
    reader.goOn();
    await eventually('it has answered', () => replies.length === 1);
    const served = await oneThatReads(criu.script);
    await judged(check);
    criu.engine('receive', sends(checked));
    endNow(served);
    reader.goOn();
    await over;
    return { store, replies, served };
  }

  it('is replaced if it had served the previous request and its exit is not yet known', async () => {
    const { replies } = await endAfterOne();
    assert.deepEqual(replies, [checked, checked]);
    assert.deepEqual(criu.received(), [encodeRequest(check)]);
  });

  /** At every moment a restart would find the request, and in the end the engine that has it. */
  function assertKept(store: Store, gone: number): void {
    const [request] = store.found.filter((found) => found !== undefined);
    const from = store.found.indexOf(request);
    const until = store.found.indexOf(undefined, from);
    const kept = store.found.slice(from, until);
    const taken = kept.findLast((found) => found?.at === 'starting' && found.place === 'ours');
    assert.equal(taken?.packet, encodeRequest(check).toString());
    const last = kept.at(-1);
    assert.deepEqual([last?.at, last?.place], ['offered', 'ours']);
    assert.ok(last?.engine !== undefined && last.engine !== gone);
    assert.ok(store.found.slice(until).every((found) => found === undefined));
    assert.equal(store.size, 0);
  }

  it('leaves a stored request with its replacement, if it was sent the request', async () => {
    criu.engine('receive', sends(checked));
    const { pool, reader, store, judged, over } = open(1);
    pool.refill();
    const waiting = await oneThatReads(criu.script);
    process.kill(waiting, os.signals.SIGSTOP);
    await judged(check);
    reader.goOn();
    await eventually('it was sent that', () => {
      store.look();
      const last = store.found.at(-1);
      return last?.at === 'offered' && last.place === 'ours';
    });
    process.kill(waiting, os.signals.SIGKILL);
    await over;
    assertKept(store, waiting);
    pool.close();
  });

  it('leaves a stored request with its replacement, if it had served the previous request', async () => {
    const { store, served } = await endAfterOne();
    assertKept(store, served);
  });

  it('is reported after its last reply, which waits until the caller reads', async () => {
    criu.engine('receive', sends(checked), 'receive');
    const { reader, judged, replies, over, read } = open(0, true);
    await judged({ ...check, keep_open: true });
    reader.goOn();
    await eventually('its engine has it', () => criu.received().length === 1);
    await judged(check);
    const served = await oneThatReads(criu.script);
    criu.engine('receive', sends(checked));
    endNow(served);
    reader.goOn();
    await eventually('another one has it', () => criu.received().length === 1);
    read();
    await over;
    assert.deepEqual(replies, [checked, checked]);
  });
});
