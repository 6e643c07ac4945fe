/** The limits from a caller's view. The tests run as root, whose share is the whole. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, openSync } from 'node:fs';
import { constants as os } from 'node:os';
import { decodeResponse } from '../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Client, sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

/** Pid 2 is kthreadd or missing: no tree of ours is below it. */
const dump: CriuReq = { type: ReqType.DUMP, opts: { images_dir_fd: -1, pid: 2, notify_scripts: true } };
const dumped: CriuResp = { type: ReqType.DUMP, success: true, dump: { restored: false } };
const rolledBack: CriuResp = { type: ReqType.DUMP, success: false, dump: { restored: false } };
const notification: CriuResp = { type: ReqType.NOTIFY, success: true, notify: { script: 'pre-dump' } };
const yes: CriuReq = { type: ReqType.NOTIFY, notify_success: true };
const { EAGAIN, EMSGSIZE, ETIMEDOUT } = os.errno;

/** Sends a packet of this size to an address, with this uid, and prints the reply. */
const sendZeros = `
import os, socket, sys
os.setresuid(*[int(sys.argv[3])] * 3)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.send(bytes(int(sys.argv[2])))
print(s.recv(65536).hex(), end='')
`;

async function withService(
  options: string[],
  body: (service: ServiceUnderTest) => Promise<void>,
): Promise<void> {
  const service = await new ServiceUnderTest().start(...options);
  try {
    const fds = service.openFds();
    await body(service);
    await eventually('all engines are reaped', () => service.children().length === 0);
    await eventually('all fds are closed', () => service.openFds() <= fds);
  } catch (error) {
    // A request that a failed test has left keeps the service for a while.
    await service.stop().catch(() => {});
    throw error;
  }
  await service.stop();
}

describe('a connection beyond the limit', () => {
  for (const when of ['before', 'after'] as const) {
    it(`gets a single reply and is closed, if it is accepted ${when} it asks`, async () => {
      await withService(['--max-sessions', '2'], async (service) => {
        const sockets = service.sockets();
        const held = [1, 2].map(() => new Client(service.address));
        const extra = new Client(service.address);
        if (when === 'before') await eventually('all are accepted', () => service.sockets() >= sockets + 3);
        const reply = await extra.ask({ type: ReqType.VERSION });
        assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.EMPTY, false, EAGAIN]);
        assert.match(reply.cr_errmsg ?? '', /--max-sessions/);
        for (const client of held) client.close();
      });
    });
  }

  it('is served after another connection has closed', async () => {
    await withService(['--max-sessions', '1'], async (service) => {
      service.engine('receive', sends({ type: ReqType.VERSION, success: true }));
      const sockets = service.sockets();
      const held = new Client(service.address);
      await eventually('it is accepted', () => service.sockets() > sockets);
      assert.equal((await new Client(service.address).ask({ type: ReqType.VERSION })).cr_errno, EAGAIN);
      held.close();
      let reply = await new Client(service.address).ask({ type: ReqType.VERSION });
      for (
        ;
        reply.cr_errno === EAGAIN;
        reply = await new Client(service.address).ask({ type: ReqType.VERSION })
      );
      assert.equal(reply.success, true);
    });
  });
});

describe('a request beyond the limit of engines', () => {
  /** Keeps the only engine waiting at a notification. */
  async function withBusyEngine(
    options: string[],
    body: (service: ServiceUnderTest, first: Client) => Promise<void>,
  ): Promise<void> {
    await withService(['--max-engines', '1', ...options], async (service) => {
      service.engine('receive', sends(notification), 'receive', sends(dumped));
      const first = new Client(service.address).send(dump);
      await first.next();
      service.engine('receive', sends(dumped));
      await body(service, first);
    });
  }

  it('waits for its turn, and is then served', async () => {
    await withBusyEngine([], async (service, first) => {
      const sockets = service.sockets();
      const second = new Client(service.address).send(dump);
      await eventually('it is accepted', () => service.sockets() > sockets);
      // A request behind it is answered, which needs no engine: it was judged before.
      assert.equal((await new Client(service.address).ask({ type: ReqType.EMPTY })).success, false);
      assert.equal(service.engines().length, 1);
      assert.deepEqual(service.received(), []);
      assert.deepEqual(await first.send(yes).all(), [dumped]);
      assert.deepEqual(await second.all(), [dumped]);
    });
  });

  it('is independent of the previous request’s engine on the same connection, of its replies and its end', async () => {
    await withService(['--max-engines', '1'], async (service) => {
      const kept: CriuResp = { type: ReqType.CPUINFO_CHECK, success: true };
      const restored: CriuResp = { type: ReqType.RESTORE, success: true, restore: { pid: 1 } };
      service.engine('receive', sends(kept), 'receive', 'sleep 200', sends(rolledBack), 'exit 1');
      const client = new Client(service.address);
      client.send({ type: ReqType.CPUINFO_CHECK, keep_open: true, opts: { images_dir_fd: -1 } });
      assert.deepEqual(await client.next(), { reply: kept, fds: 0 });
      // Descriptors can be passed to an engine only at its start, and this engine starts after the first has exited.
      service.engine('receive', sends(restored));
      const file = openSync('/dev/zero', 'r');
      client.send({
        type: ReqType.RESTORE,
        opts: { images_dir_fd: -1, inherit_fd: [{ key: 'k', fd: file }] },
      });
      assert.deepEqual(await client.all(), [restored]);
      closeSync(file);
    });
  });

  it('is forgotten when its caller leaves, and starts no engine', async () => {
    await withBusyEngine([], async (service, first) => {
      const sockets = service.sockets();
      const second = new Client(service.address).send(dump);
      await eventually('it is accepted', () => service.sockets() > sockets);
      second.close();
      await eventually('it is forgotten', () => service.sockets() <= sockets);
      assert.deepEqual(await first.send(yes).all(), [dumped]);
      assert.deepEqual(service.received(), []);
    });
  });

  it('gets a single reply when the service stops', async () => {
    const service = await new ServiceUnderTest().start('--max-engines', '1');
    service.engine('receive', sends(notification), 'receive', sends(dumped));
    const first = new Client(service.address).send(dump);
    await first.next();
    const sockets = service.sockets();
    const second = new Client(service.address).send(dump);
    await eventually('it is accepted', () => service.sockets() > sockets);
    assert.equal((await new Client(service.address).ask({ type: ReqType.EMPTY })).success, false);
    service.signal('SIGTERM');
    const [reply] = await second.all();
    assert.deepEqual([reply?.type, reply?.success, reply?.cr_errno], [ReqType.DUMP, false, EAGAIN]);
    assert.match(reply?.cr_errmsg ?? '', /stopping/);
    assert.deepEqual(await first.send(yes).all(), [dumped]);
    await service.stop();
  });

  it('gets a single reply after it has waited for --operation-timeout', async () => {
    await withService(['--max-engines', '1', '--operation-timeout', '3'], async (service) => {
      service.engine('receive', 'until told', sends(dumped));
      const first = new Client(service.address).send(dump);
      await eventually('its engine runs', () => service.children().length === 1);
      const [reply] = await new Client(service.address).send(dump).all();
      assert.deepEqual([reply?.success, reply?.cr_errno], [false, ETIMEDOUT]);
      service.tell();
      assert.deepEqual(await first.all(), [dumped]);
    });
  });
});

describe('a deadline', () => {
  it('for the answer to a notification makes the engine read an end of file, and gives the caller a single reply', async () => {
    await withService(['--notify-timeout', '0.3'], async (service) => {
      service.engine('receive', sends(notification), 'receive', sends(rolledBack));
      const client = new Client(service.address).send(dump);
      await client.next();
      const [reply, ...more] = await client.all();
      assert.deepEqual(more, []);
      assert.deepEqual([reply?.type, reply?.success, reply?.cr_errno], [ReqType.DUMP, false, ETIMEDOUT]);
      assert.match(reply?.cr_errmsg ?? '', /notification.*0\.3 s/);
      assert.equal(service.received().at(-1), 'eof');
    });
  });

  it('for an operation reports a late success as a success', async () => {
    await withService(['--operation-timeout', '3'], async (service) => {
      service.engine('receive', 'sleep 4000', sends(dumped));
      assert.deepEqual(await new Client(service.address).send(dump).all(), [dumped]);
      service.engine('receive', 'sleep 4000', sends(rolledBack));
      const [reply] = await new Client(service.address).send(dump).all();
      assert.deepEqual([reply?.success, reply?.cr_errno], [false, ETIMEDOUT]);
      assert.match(reply?.cr_errmsg ?? '', /longer than 3 s/);
    });
  });
});

describe('a packet beyond the limit', () => {
  it('is refused with its size and the limit', async () => {
    await withService(['--max-packet-size', '4096'], async (service) => {
      const [reply] = await new Client(service.address).sendBytes(Buffer.alloc(4097)).all();
      assert.deepEqual([reply?.type, reply?.cr_errno], [ReqType.EMPTY, EMSGSIZE]);
      assert.match(reply?.cr_errmsg ?? '', /4097 bytes.*4096/);
    });
  });

  it('is smaller for users without root, whatever the option says', async () => {
    await withService([], async (service) => {
      chmodSync(service.directory, 0o755);
      for (const [uid, bytes] of [
        [65534, 65537],
        [0, 65537],
      ] as const) {
        const { status, stdout, stderr } = spawnSync(
          'python3',
          ['-c', sendZeros, service.address, String(bytes), String(uid)],
          { encoding: 'utf8' },
        );
        assert.equal(status, 0, stderr);
        const reply = decodeResponse(Buffer.from(stdout, 'hex'), 'strict');
        const said = reply.kind === 'response' ? reply.message : assert.fail(reply.reason);
        if (uid === 0) assert.equal(said.cr_errno, os.errno.EINVAL);
        else assert.deepEqual([said.type, said.cr_errno], [ReqType.EMPTY, EMSGSIZE]);
        assert.match(said.cr_errmsg ?? '', uid === 0 ? /no criu_req/ : /65537 bytes.*65536/);
      }
    });
  });
});
