/** A request that was taken from its caller's queue by a service that was killed before an engine had it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Engine } from '../../../src/engine/engine.ts';
import { native, type SeqpacketSocket } from '../../../src/native/binding.ts';
import { EBADRQC } from '../../../src/native/errnos.ts';
import { decodeResponse, encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';
import type { State } from '../../../src/session/machine/states.ts';
import { sends } from '../../scenario/support/client.ts';
import { eventually, ServiceUnderTest } from '../../scenario/support/service.ts';
import { authorized } from './support/authorized.ts';
import { type Left, Resumed } from './support/resumed.ts';

/** Pid 2 is kthreadd or nobody: no tree of ours is below it. */
const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2 } };
const packet = encodeRequest(dump);
const self: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1 } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const request = authorized(ReqType.DUMP);
const judging: State = { at: 'judging', phase: 'first', engine: false, packet: 'ours' };
const starting: State = { at: 'starting', request, packet: 'ours' };
/** Its engine may never have got it, or has got it. */
const sending: State = { at: 'offered', request, packet: 'queued', by: 'this-start' };
const sent: State = { ...sending, packet: 'ours' };

describe('a request that has to be asked again', () => {
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
    it(`is asked again once more after another restart, which found it ${state.at}`, async () => {
      assert.deepEqual(await resumed({ state }).all(), [dumped]);
      assert.deepEqual(next.received(), [packet]);
    });
  }

  it('is not given to the engine that was started for it and kept, which leaves', async () => {
    assert.deepEqual(await resumed({ engine: old.script }).all(), [dumped]);
    assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
  });

  // The second where its request names descriptor 3.
  for (const connection of [3, 4]) {
    it(`is asked again when an engine that has not got it sleeps in a read of its descriptor ${connection}`, async () => {
      const left = { state: sending, engine: old.script, connection };
      assert.deepEqual(await resumed(left).all(), [dumped]);
      assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
    });
  }

  it('waits for its turn where the engine that has not got it was the only one that there may be', async () => {
    const left = { state: sending, engine: old.script, sleeps: true, engines: 1 };
    assert.deepEqual(await resumed(left).all(), [dumped]);
    assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
  });

  it('is asked again, too, when the engine that had it found its descriptors gone', async () => {
    old.engine(sends({ ...dumped, success: false, cr_errno: EBADRQC }), 'receive');
    assert.deepEqual(await resumed({ state: sent, engine: old.script }).all(), [dumped]);
    assert.deepEqual([next.received(), old.received()], [[packet], ['eof']]);
  });

  it('takes no other packet along: what is in the queue came after it', async () => {
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

  it('has no engine read its caller’s connection, where the next packet is one that nobody has judged', async () => {
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
    // It means itself now, for example because the target has become its parent meanwhile.
    const left: Left = { state: judging, criu: next.script, packet: encodeRequest(self) };
    await new Resumed(left, undefined, accepted).over;
    const reply = decodeResponse(Buffer.from((await text(caller.stdout)).trim(), 'hex'), 'strict');
    assert.ok(reply.kind === 'response');
    assert.deepEqual([reply.message.success, reply.message.cr_errno], [false, os.errno.EAGAIN]);
    assert.deepEqual(next.received(), []);
  });
});

describe('a request of which nobody can find out whether its engine has it', () => {
  const known = Object.getOwnPropertyDescriptor(Engine.prototype, 'sleepsReading')!;
  let engine: ServiceUnderTest;

  beforeEach(() => {
    Object.defineProperty(Engine.prototype, 'sleepsReading', { ...known, get: () => undefined });
    engine = new ServiceUnderTest();
  });

  afterEach(async () => {
    Object.defineProperty(Engine.prototype, 'sleepsReading', known);
    await engine.stop();
  });

  const resumed = (): Resumed => new Resumed({ state: sending, packet, engine: engine.script });

  it('is answered that, when the engine is lost without a word', async () => {
    engine.engine('receive', 'kill 9');
    const [reply, ...more] = await resumed().all();
    assert.deepEqual([reply?.type, reply?.success, reply?.cr_errno], [ReqType.DUMP, false, os.errno.EIO]);
    assert.match(reply?.cr_errmsg ?? '', /cannot be found out; .*signal 9/);
    assert.deepEqual([more.length, engine.received()], [0, ['eof']]);
  });

  it('is answered by the engine that had it after all, which is not killed', async () => {
    engine.engine('sleep 200', sends(dumped));
    assert.deepEqual(await resumed().all(), [dumped]);
  });
});
