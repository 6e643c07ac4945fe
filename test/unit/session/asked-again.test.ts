/** A request that the service took from its caller's queue right before it was killed, so that no engine has it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { native, type SeqpacketSocket } from '../../../src/native/binding.ts';
import { EBADRQC } from '../../../src/native/errnos.ts';
import { decodeResponse, encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import type { State } from '../../../src/session/machine/states.ts';
import { sends } from '../../scenario/support/client.ts';
import { eventually, ServiceUnderTest } from '../../scenario/support/service.ts';
import { authorized } from './support/authorized.ts';
import { type Left, Resumed } from './support/resumed.ts';

/** Pid 2 is kthreadd or does not exist: it is no ancestor of a tree of ours. */
const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2 } };
const packet = encodeRequest(dump);
const self: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1 } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const request = authorized(ReqType.DUMP);
const judging: State = { at: 'judging', phase: 'first', engine: false, packet: 'ours' };
const starting: State = { at: 'starting', request, packet: 'ours' };
/** The engine may or may not have got the request. */
const sending: State = { at: 'offered', request, packet: 'queued', by: 'this-start' };
const sent: State = { ...sending, packet: 'ours' };

describe('a request that no engine has after a restart', () => {
  let next: ServiceUnderTest;
  let old: ServiceUnderTest;

  beforeEach(() => {
    next = new ServiceUnderTest();
    old = new ServiceUnderTest();
    next.engine('receive', sends(dumped));
    old.engine('receive');
  });

  afterEach(async () => {
    await next.stop();
    await old.stop();
  });

  const resumed = (left: Partial<Left>): Resumed =>
    new Resumed({ state: starting, packet, criu: next.script, ...left });

  for (const state of [judging, starting]) {
    it(`is judged again after another restart in the state ${state.at}`, async () => {
      assert.deepEqual(await resumed({ state }).all(), [dumped]);
      assert.deepEqual(next.received(), [packet]);
    });
  }

  it('goes to a fresh engine; the stored engine exits', async () => {
    assert.deepEqual(await resumed({ engine: old.script }).all(), [dumped]);
    assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
  });

  // The second number, if the request names descriptor 3.
  for (const connection of [3, 4]) {
    it(`is judged again if its engine sleeps in a read of descriptor ${connection}`, async () => {
      const left = { state: sending, engine: old.script, connection };
      assert.deepEqual(await resumed(left).all(), [dumped]);
      assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
    });
  }

  it('waits for its turn if the engine without it uses up the limit of engines', async () => {
    const left = { state: sending, engine: old.script, sleeps: true, engines: 1 };
    assert.deepEqual(await resumed(left).all(), [dumped]);
    assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
  });

  it('is judged again if its engine found its descriptors gone', async () => {
    old.engine(sends({ ...dumped, success: false, cr_errno: EBADRQC }), 'receive');
    assert.deepEqual(await resumed({ state: sent, engine: old.script }).all(), [dumped]);
    assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
  });

  it('leaves the packets in the queue, which came after it', async () => {
    const check: CriuReq = { type: ReqType.CPUINFO_CHECK, opts: { images_dir_fd: -1 } };
    const checked: CriuResp = { type: ReqType.CPUINFO_CHECK, success: true };
    const first = encodeRequest({ ...check, keep_open: true });
    const second = encodeRequest(check);
    next.engine('receive', sends(checked), 'receive', sends(checked));
    assert.deepEqual(await resumed({ packet: first, queued: [second] }).all(), [checked, checked]);
    assert.deepEqual(next.received(), [first, second]);
  });

  it('gets one reply when no engine can be started for it', async () => {
    const [reply, ...more] = await resumed({ criu: '/nonexistent/criu' }).all();
    assert.deepEqual([reply?.type, reply?.success, more.length], [ReqType.DUMP, false, 0]);
    assert.match(reply?.cr_errmsg ?? '', /no executable \/nonexistent\/criu/);
  });

  it('is never handed over: the engine would read an unjudged packet', async () => {
    const address = join(next.directory, 'socket');
    const listener = native.listen(address, 0o600, 1);
    const unjudged = encodeRequest({ type: ReqType.RESTORE, opts: { images_dir_fd: -1 } });
    const script = `
import socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(sys.argv[1])
connection.send(bytes.fromhex(sys.argv[2]))
print(connection.recv(4096).hex())
`;
    const caller = spawn('python3', ['-c', script, address, unjudged.toString('hex')]);
    let accepted: SeqpacketSocket | undefined;
    await eventually('it has connected', () => {
      accepted ??= listener.accept();
      return accepted?.peek(0).kind === 'packet';
    });
    listener.close();
    // The request now asks for a dump of its caller, for example because the target has become the caller's parent.
    const left: Left = { state: judging, criu: next.script, packet: encodeRequest(self) };
    await new Resumed(left, undefined, accepted).over;
    const reply = decodeResponse(Buffer.from((await text(caller.stdout)).trim(), 'hex'), 'strict');
    assert.ok(reply.kind === 'response');
    assert.deepEqual([reply.message.success, reply.message.cr_errno], [false, os.errno.EAGAIN]);
    assert.deepEqual(next.received(), []);
  });
});

describe('a request that its engine may or may not have, where that cannot be found out', () => {
  let engine: ServiceUnderTest;

  beforeEach(() => {
    engine = new ServiceUnderTest();
  });

  afterEach(async () => {
    await engine.stop();
  });

  const resumed = (): Resumed =>
    new Resumed({
      state: sending,
      packet,
      engine: engine.script,
      context: { sleepsReading: () => undefined },
    });

  it('fails with that reason if the engine is lost without a reply', async () => {
    engine.engine('receive', 'kill 9');
    const [reply, ...more] = await resumed().all();
    assert.deepEqual([reply?.type, reply?.success, reply?.cr_errno], [ReqType.DUMP, false, os.errno.EIO]);
    assert.match(reply?.cr_errmsg ?? '', /cannot be found out; .*signal 9/);
    assert.deepEqual([more.length, engine.received()], [0, ['eof']]);
  });

  it('is answered by the engine if it had the request; the engine is not killed', async () => {
    engine.engine('sleep 200', sends(dumped));
    assert.deepEqual(await resumed().all(), [dumped]);
  });
});
