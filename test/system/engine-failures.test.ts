/** Engines that are missing or die, and callers that leave or object: one reply, and the target is as it was. */
import assert from 'node:assert/strict';
import { type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import { eventually, freshDirectory } from './support/bench.ts';
import { ask, Client, ourAddress, withOpen } from './support/client.ts';
import { Instance } from './support/instance.ts';
import { engines, it } from './support/it.ts';
import { statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

/** Brings a dump to the notification `script` and hands over the connection, on which CRIU waits for the answer. */
async function dumpUntil(
  script: 'pre-dump' | 'post-dump',
  then: (client: Client, target: Target) => Promise<void>,
): Promise<void> {
  const target = Target.start();
  await withOpen([freshDirectory()], async (fd) => {
    const request: CriuReq = {
      type: ReqType.DUMP,
      opts: { images_dir_fd: fd, pid: target.pid, notify_scripts: true, log_level: 4 },
    };
    const client = new Client().send(request);
    await client.notified('pre-dump');
    if (script === 'post-dump') {
      await client.answer(true).notified('query-ext-files');
      await client.answer(true).notified('post-dump');
      assert.notEqual(statusLine(target.pid, 'TracerPid'), '0');
    }
    await then(client, target);
  });
}

describe('an engine that waits for the answer to a notification', () => {
  for (const script of ['pre-dump', 'post-dump'] as const) {
    it(`gets its caller one reply when it is killed at ${script}, and the target runs again`, async () => {
      await dumpUntil(script, async (client, target) => {
        for (const engine of engines()) process.kill(engine, 'SIGKILL');
        const reply = await client.only();
        assert.equal(reply.type, ReqType.DUMP);
        assert.equal(reply.success, false);
        assert.ok(reply.cr_errno! > 0);
        assert.match(reply.cr_errmsg ?? '', /signal 9/);
        await target.assertCountsOn();
      });
    });

    it(`rolls the dump back when the caller leaves at ${script}`, async () => {
      await dumpUntil(script, async (client, target) => {
        client.close();
        await eventually('the engine leaves', () => engines().length === 0);
        await target.assertCountsOn();
      });
    });

    it(`rolls the dump back when the caller says no at ${script}, with one failing reply`, async () => {
      await dumpUntil(script, async (client, target) => {
        const reply = await client.answer(false).only();
        assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, false]);
        await target.assertCountsOn();
      });
    });
  }

  it('takes something else than an answer for a no', async () => {
    await dumpUntil('pre-dump', async (client, target) => {
      const reply = await client.send({ type: ReqType.VERSION }).only();
      assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, false]);
      await target.assertCountsOn();
    });
  });
});

describe('a service without an engine', () => {
  it('answers each request once, with a sentence that says what to do', async () => {
    const service = await Instance.start('--criu', '/nonexistent/criu');
    try {
      for (const type of [ReqType.VERSION, ReqType.CHECK]) {
        const reply = await ask({ type }, service.address);
        assert.deepEqual([reply.type, reply.success], [type, false]);
        assert.ok(reply.cr_errno! > 0);
        assert.match(reply.cr_errmsg ?? '', /\/nonexistent\/criu.*install criu/);
      }
    } finally {
      service.stop();
    }
  });

  it('says so for a dump, and leaves the target alone', async () => {
    const service = await Instance.start('--criu', '/nonexistent/criu');
    try {
      const target = Target.start();
      const reply = await withOpen([freshDirectory()], (fd) =>
        ask({ type: ReqType.DUMP, opts: { images_dir_fd: fd, pid: target.pid } }, service.address),
      );
      assert.deepEqual([reply.type, reply.success, reply.dump?.restored], [ReqType.DUMP, false, false]);
      await target.assertCountsOn();
    } finally {
      service.stop();
    }
  });
});

describe('a client that says nothing', () => {
  it('gets one reply at the deadline, and its connection is closed', async () => {
    const service = await Instance.start('--request-timeout', '1');
    try {
      const reply = await new Client(service.address).only();
      assert.deepEqual([reply.type, reply.success], [ReqType.EMPTY, false]);
      assert.match(reply.cr_errmsg ?? '', /1 s/);
    } finally {
      service.stop();
    }
  });

  it('may leave before it has said anything', async () => {
    new Client(ourAddress).close();
  });
});
