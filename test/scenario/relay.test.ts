import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { constants as os } from 'node:os';
import { text } from 'node:stream/consumers';
import { EBADRQC } from '../../src/native/errnos.ts';
import { decodeRequest, encodeRequest, encodeResponse } from '../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Client, sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

/** Pid 2 is kthreadd or missing: no tree of ours is below it. */
const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2 } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const notification: CriuResp = { type: ReqType.NOTIFY, success: true, notify: { script: 'pre-dump' } };
const preDumped: CriuResp = { type: ReqType.PRE_DUMP, success: true };

function requestIn(packet: Buffer | 'eof' | undefined): CriuReq {
  assert.ok(packet && packet !== 'eof', 'the engine received no packet');
  const decoded = decodeRequest(packet, 'lenient');
  if (decoded.kind === 'malformed') return assert.fail(decoded.reason);
  return JSON.parse(JSON.stringify(decoded.message));
}

describe('relay with a scripted engine', () => {
  let service: ServiceUnderTest;
  let idleFds: number;

  before(async () => {
    service = await new ServiceUnderTest().start();
    idleFds = service.openFds();
  });

  after(() => service.stop());

  afterEach('no fd and no process is left', async () => {
    await eventually('all engines are reaped', () => service.children().length === 0);
    await eventually('all fds are closed', () => service.openFds() <= idleFds);
  });

  it('gives the caller the single reply of the engine, and closes', async () => {
    service.engine('receive', sends(dumped));
    assert.deepEqual(await new Client(service.address).send(dump).all(), [dumped]);
  });

  it('gives the reply even to a caller that has sent more packets than are read', async () => {
    service.engine('receive', sends(dumped));
    // Reads as most clients do, without checking for an error of the connection first.
    const script = `
import socket, sys
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(sys.argv[1])
for _ in range(3):
    connection.send(bytes.fromhex(sys.argv[2]))
sys.stdin.readline()
print(connection.recv(4096).hex())
`;
    const packet = encodeRequest(dump).toString('hex');
    const caller = spawn('python3', ['-c', script, service.address, packet]);
    await eventually('the request has reached its engine', () => service.received().length > 0);
    await eventually('the service has closed the connection', () => service.openFds() <= idleFds);
    caller.stdin.end('\n');
    assert.equal((await text(caller.stdout)).trim(), encodeResponse(dumped).toString('hex'));
  });

  it('passes a request that needs no rewriting on byte for byte, unknown fields included', async () => {
    service.engine('receive', sends(dumped));
    const bytes = Buffer.concat([encodeRequest(dump), Buffer.from([0xfa, 0x3f, 2, 0x68, 0x69])]);
    await new Client(service.address).sendBytes(bytes).all();
    assert.deepEqual(service.received()[0], bytes);
  });

  it('replaces the number of a directory by the number of its own copy, which is the same directory', async () => {
    const directory = openSync(service.directory, 'r');
    service.engine('receive', 'until told', sends(dumped));
    const client = new Client(service.address).send({
      type: ReqType.DUMP,
      opts: { images_dir_fd: directory, work_dir_fd: directory, pid: 2 },
    });
    await eventually(
      'the engine has its request',
      () => service.children().length > 0 && service.received().length > 0,
    );
    const opts = requestIn(service.received()[0]).opts!;
    for (const number of [opts.images_dir_fd, opts.work_dir_fd]) {
      assert.equal(readlinkSync(`/proc/${service.pid}/fd/${number}`), realpathSync(service.directory));
    }
    service.tell();
    await client.all();
    closeSync(directory);
  });

  it('refuses a descriptor that the caller does not have, instead of using its own with that number', async () => {
    for (const field of ['images_dir_fd', 'work_dir_fd', 'status_fd', 'pidfd_store_sk']) {
      const opts = { images_dir_fd: -1, pid: 2, [field]: 900 };
      const reply = await new Client(service.address).ask({ type: ReqType.DUMP, opts });
      assert.equal(reply.success, false);
      assert.equal(reply.cr_errno, 56);
      assert.match(reply.cr_errmsg!, new RegExp(`${field} 900`));
    }
  });

  it('puts inherit_fd into the engine under the number that the request names', async () => {
    const file = openSync('/dev/zero', 'r');
    service.engine(
      'receive',
      'until told',
      sends({ type: ReqType.RESTORE, success: true, restore: { pid: 1 } }),
    );
    const client = new Client(service.address).send({
      type: ReqType.RESTORE,
      opts: { images_dir_fd: -1, inherit_fd: [{ key: 'k', fd: file }] },
    });
    await eventually('the engine has its request', () => service.received().length > 0);
    const [engine] = service.children();
    assert.equal(readlinkSync(`/proc/${engine}/fd/${file}`), '/dev/zero');
    service.tell();
    await client.all();
    closeSync(file);
  });

  it('gives the engine only its stdio and its connection', async () => {
    service.engine('receive', 'until told', sends(dumped));
    const client = new Client(service.address).send(dump);
    await eventually(
      'the engine has its request',
      () => service.children().length > 0 && service.received().length > 0,
    );
    const [engine] = service.children();
    const held = [0, 1, 2, 3].map((number) => readlinkSync(`/proc/${engine}/fd/${number}`));
    assert.equal(held[0], '/dev/null');
    assert.match(held[1]!, /^\/memfd:criu-stderr/);
    assert.equal(held[2], held[1]);
    assert.match(held[3]!, /^socket:/);
    assert.ok(
      !statSync(`/proc/${engine}/fd/6`, { throwIfNoEntry: false }),
      'an fd beyond the script and its log',
    );
    service.tell();
    await client.all();
  });

  it('passes on notifications with their fds, and returns the answers', async () => {
    service.engine(
      'receive',
      sends(notification),
      'receive',
      sends(notification, true),
      'receive',
      sends(dumped),
    );
    const client = new Client(service.address).send(dump);
    const answer: CriuReq = { type: ReqType.NOTIFY, notify_success: true };
    assert.deepEqual(await client.next(), { reply: notification, fds: 0 });
    client.send(answer);
    assert.deepEqual(await client.next(), { reply: notification, fds: 1 });
    client.send(answer);
    assert.deepEqual(await client.all(), [dumped]);
    assert.deepEqual(service.received().slice(1), [encodeRequest(answer), encodeRequest(answer)]);
  });

  it('fails a notification that is answered with another request or with garbage', async () => {
    for (const bytes of [encodeRequest(dump), Buffer.from([0xff, 0xff])]) {
      service.engine('receive', sends(notification), 'receive', sends({ ...dumped, success: false }));
      const client = new Client(service.address).send(dump);
      await client.next();
      const replies = await client.sendBytes(bytes).all();
      assert.deepEqual(replies, [{ ...dumped, success: false }]);
      assert.deepEqual(requestIn(service.received()[1]), { type: ReqType.NOTIFY, notify_success: false });
    }
  });

  it('lets the engine read an end of file if the caller leaves during a notification', async () => {
    service.engine('receive', sends(notification), 'receive', 'exit 1');
    const client = new Client(service.address).send(dump);
    await client.next();
    client.close();
    await eventually('the engine read the end', () => service.received()[1] === 'eof');
  });

  it('gives the reply to a caller that has closed only its sending half', async () => {
    service.engine('receive', 'sleep 100', sends(dumped));
    const client = new Client(service.address).send(dump);
    client.shutdownWrite();
    assert.deepEqual(await client.all(), [dumped]);
  });

  it('serves a pre-dump loop with one engine, and its end', async () => {
    service.engine('receive', sends(preDumped), 'receive', sends(preDumped), 'receive', sends(dumped));
    const client = new Client(service.address);
    const round: CriuReq = { ...dump, type: ReqType.PRE_DUMP };
    for (let i = 0; i < 2; i += 1)
      assert.deepEqual(await client.send(round).next(), { reply: preDumped, fds: 0 });
    assert.deepEqual(await client.send(dump).all(), [dumped]);
    assert.equal(service.received().length, 3);
  });

  it('authorizes each message of a loop: a refused message gets its reply, and the engine an end of file', async () => {
    service.engine('receive', sends(preDumped), 'receive', 'exit 1');
    const client = new Client(service.address);
    await client.send({ ...dump, type: ReqType.PRE_DUMP }).next();
    const [reply, ...more] = await client.send({ type: ReqType.RESTORE, opts: { images_dir_fd: -1 } }).all();
    assert.deepEqual([reply!.type, reply!.success, more.length], [ReqType.EMPTY, false, 0]);
    await eventually('the engine read the end', () => service.received()[1] === 'eof');
  });

  it('serves several requests on one connection after keep_open, read one at a time', async () => {
    const version: CriuResp = { type: ReqType.VERSION, success: true };
    service.engine('receive', sends(version), 'receive', sends(version));
    const client = new Client(service.address)
      .send({ type: ReqType.VERSION, keep_open: true })
      .send({ type: ReqType.VERSION });
    assert.deepEqual(await client.all(), [version, version]);
  });

  it('hands a self dump over: the engine reads the packet from the connection of its caller, which blocks', async () => {
    service.engine('receive', 'sleep 50', sends({ ...dumped, dump: { restored: true } }));
    const request: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: 7 } };
    const [reply] = await new Client(service.address).send(request).all();
    assert.equal(reply!.dump!.restored, true);
    assert.deepEqual(service.received(), [encodeRequest(request)]);
  });

  it('hands the DUMP that ends a loop over to a new engine', async () => {
    service.engine('receive', sends(preDumped), 'receive', 'exit 0');
    const client = new Client(service.address);
    const opts = { images_dir_fd: -1 };
    await client.send({ type: ReqType.PRE_DUMP, opts }).next();
    assert.equal(requestIn(service.received()[0]).opts!.pid, process.pid, 'the caller means itself');
    service.engine('receive', sends(dumped));
    assert.deepEqual(await client.send({ type: ReqType.DUMP, opts }).all(), [dumped]);
  });

  it('gives a single reply if the engine is killed, before and during a notification and on a hand-over', async () => {
    const self: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1 } };
    for (const request of [dump, self]) {
      service.engine('receive', 'stderr Error (cr-dump.c:1): it hurts', 'kill 9');
      const reply = await new Client(service.address).ask(request);
      assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.DUMP, false, os.errno.EIO]);
      assert.match(reply.cr_errmsg!, /signal 9.*it hurts/);
    }
    service.engine('receive', sends(notification), 'kill 9');
    const replies = await new Client(service.address).send(dump).all();
    assert.deepEqual(
      replies.map(({ type }) => type),
      [ReqType.NOTIFY, ReqType.DUMP],
    );
  });

  it('gives a single reply if the engine exits without a reply', async () => {
    service.engine('receive', 'exit 3');
    const reply = await new Client(service.address).ask(dump);
    assert.match(reply.cr_errmsg!, /status 3/);
  });

  it('gives the reason of an engine whose words come after its failing reply, at its exit', async () => {
    const failed: CriuResp = { type: ReqType.DUMP, success: false, cr_errno: EBADRQC };
    const words = "Error (criu/log.c:222): Can't create log file criu.log: Read-only file system";
    service.engine('receive', sends(failed), 'sleep 300', `stderr ${words}`, 'exit 1');
    const [reply, ...more] = await new Client(service.address).send(dump).all();
    assert.deepEqual(more, []);
    assert.match(reply?.cr_errmsg ?? '', /The log criu\.log cannot be written in .*: EROFS/);
    assert.equal(reply?.cr_errno, os.errno.EROFS);
  });

  it('delivers the messages of an engine that died with requests unread', async () => {
    service.engine(sends(dumped), 'kill 9');
    assert.deepEqual(await new Client(service.address).send(dump).all(), [dumped]);
  });

  it('gives a single reply if criu is missing, or cannot be executed', async () => {
    const missing = await new ServiceUnderTest().start('--criu', '/nonexistent/criu');
    const reply = await new Client(missing.address).ask(dump);
    assert.match(reply.cr_errmsg!, /no executable \/nonexistent\/criu/);
    await missing.stop();
  });

  it('answers a packet that is no request with EMPTY, and closes', async () => {
    const packets: [string, Buffer, number][] = [
      ['garbage', Buffer.from('garbage'), os.errno.EINVAL],
      ['EMPTY', encodeRequest({ type: ReqType.EMPTY }), os.errno.EINVAL],
      ['an unknown type', Buffer.from([8, 99]), os.errno.EINVAL],
      ['a NOTIFY out of turn', encodeRequest({ type: ReqType.NOTIFY }), os.errno.EINVAL],
      ['a packet without a byte', Buffer.alloc(0), os.errno.EINVAL],
    ];
    for (const [what, bytes, errno] of packets) {
      const replies = await new Client(service.address).sendBytes(bytes).all();
      assert.deepEqual(
        replies.map(({ type, success, cr_errno }) => [type, success, cr_errno]),
        [[ReqType.EMPTY, false, errno]],
        what,
      );
    }
  });

  it('answers a silent client after the deadline', async () => {
    const impatient = await new ServiceUnderTest().start('--request-timeout', '0.3');
    try {
      const [reply, ...more] = await new Client(impatient.address).all();
      assert.deepEqual([reply!.type, reply!.cr_errno, more.length], [ReqType.EMPTY, os.errno.ETIMEDOUT, 0]);
    } finally {
      await impatient.stop();
    }
  });

  it('keeps nothing of a client that leaves immediately', async () => {
    for (let i = 0; i < 100; i += 1) new Client(service.address).close();
  });

  it('keeps nothing of a client that sends a request and leaves', async () => {
    service.engine('receive', sends(dumped));
    for (let i = 0; i < 20; i += 1) new Client(service.address).send(dump).close();
  });
});

describe('stopping', () => {
  it('waits for an engine at work, answers connections that have not asked, and removes its socket', async () => {
    const service = await new ServiceUnderTest().start();
    service.engine('receive', 'until told', sends(dumped));
    const working = new Client(service.address).send(dump);
    const silent = new Client(service.address);
    await eventually('the engine has its request', () => service.received().length > 0);
    service.signal('SIGTERM');
    const [turnedAway] = await silent.all();
    assert.match(turnedAway!.cr_errmsg!, /stopping/);
    assert.throws(() => new Client(service.address), /Connection refused|No such file/);
    service.tell();
    assert.deepEqual(await working.all(), [dumped]);
    assert.equal(await service.ended(), 0);
    assert.ok(!statSync(service.address, { throwIfNoEntry: false }));
    await service.stop();
  });
});
