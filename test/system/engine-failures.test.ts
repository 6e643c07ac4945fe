/** Engines that are missing or die, and callers that leave or object: the caller gets one reply, and the target is as it was. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type CriuReq, NetworkLock, ReqType } from '../../src/protocol/messages.ts';
import { messageIds } from '../../src/records/record-kinds.ts';
import { binary, eventually, freshDirectory, run } from './support/bench.ts';
import { ask, Client, ourAddress, withOpen } from './support/client.ts';
import { Instance } from './support/instance.ts';
import { engines, it } from './support/it.ts';
import { journal } from './support/journal.ts';
import { childrenOf, statusLine, waitsAhead } from './support/proc.ts';
import { Target } from './support/targets.ts';
import { mainPid } from './support/unit.ts';

/** CRIU's notifications before, during and after its work, in this order, for a tree without namespaces of its own. */
const dumpScripts = ['pre-dump', 'query-ext-files', 'post-dump'] as const;
/** For a tree in a network namespace of its own that is to run on: CRIU locks its network meanwhile. */
const networkScripts = [
  'pre-dump',
  'network-lock',
  'query-ext-files',
  'post-dump',
  'network-unlock',
] as const;
const restoreScripts = ['pre-restore', 'post-restore', 'pre-resume', 'post-resume'] as const;

/** Brings a dump to the notification `script` and passes on the connection, on which CRIU waits for the answer. */
async function dumpUntil(
  script: (typeof dumpScripts)[number],
  then: (client: Client, target: Target) => Promise<void>,
): Promise<void> {
  const target = Target.start();
  await withOpen([freshDirectory()], async (fd) => {
    const request: CriuReq = {
      type: ReqType.DUMP,
      opts: { images_dir_fd: fd, pid: target.pid, notify_scripts: true, log_level: 4 },
    };
    const client = new Client().send(request);
    await passThrough(client, dumpScripts, script);
    if (script !== 'pre-dump') assert.notEqual(statusLine(target.pid, 'TracerPid'), '0');
    await then(client, target);
  });
}

async function passThrough(client: Client, scripts: readonly string[], until: string): Promise<void> {
  for (const script of scripts) {
    await client.notified(script);
    if (script === until) return;
    client.answer(true);
  }
}

/** The only engine that has a request. Its replacement may not have finished its start. */
async function engineAtWork(): Promise<number> {
  const notWaiting = () => childrenOf(mainPid()).filter((pid) => !waitsAhead(pid));
  await eventually('all engines wait but the one at work', () => notWaiting().length === 1);
  return notWaiting()[0]!;
}

/** The request fails once: for the caller, and in the journal. */
async function assertFailsOnce(client: Client, type: ReqType, ...record: string[]): Promise<void> {
  const reply = await client.only();
  assert.deepEqual([reply.type, reply.success], [type, false]);
  assert.ok(reply.cr_errno! > 0);
  assert.match(reply.cr_errmsg ?? '', /signal 9/);
  const matches = [`CRIU_CALLER_PID=${process.pid}`, `MESSAGE_ID=${messageIds.failed}`, ...record];
  await eventually('its record is there', () => journal(...matches).length > 0);
  const [failed, ...more] = journal(...matches);
  assert.match(failed!.CRIU_REASON ?? '', /signal 9/);
  assert.deepEqual(more, []);
}

describe('an engine that waits for the answer to a notification', () => {
  for (const script of dumpScripts) {
    it(`costs its caller a single failed reply if it is killed at ${script}; the target runs on, which the journal says`, async () => {
      await dumpUntil(script, async (client, target) => {
        process.kill(await engineAtWork(), 'SIGKILL');
        await assertFailsOnce(client, ReqType.DUMP, `CRIU_TARGET_PID=${target.pid}`);
        await target.assertCountsOn();
        await eventually('the journal says how the process is', () => {
          const left = journal(`CRIU_TARGET_PID=${target.pid}`, `MESSAGE_ID=${messageIds.treeRuns}`);
          return left.length === 1 && left[0]!.MESSAGE!.includes(`the tree of process ${target.pid} runs on`);
        });
      });
    });
  }

  for (const script of ['network-lock', 'network-unlock'] as const) {
    it(`costs its caller a single failed reply if it is killed at ${script}, and a target with a network of its own runs on`, async () => {
      const file = join(freshDirectory(), 'count');
      const target = new Target(Number(run('unshare', '--net', binary('counter'), file)), file);
      await withOpen([freshDirectory()], async (fd) => {
        const opts = {
          images_dir_fd: fd,
          pid: target.pid,
          notify_scripts: true,
          leave_running: true,
          // CRIU may be built with another default.
          network_lock: NetworkLock.IPTABLES,
        };
        const client = new Client().send({ type: ReqType.DUMP, opts });
        await passThrough(client, networkScripts, script);
        process.kill(await engineAtWork(), 'SIGKILL');
        await assertFailsOnce(client, ReqType.DUMP, `CRIU_TARGET_PID=${target.pid}`);
        await target.assertCountsOn();
        await eventually('the journal says how the process is', () => {
          return journal(`CRIU_TARGET_PID=${target.pid}`, `MESSAGE_ID=${messageIds.treeRuns}`).length === 1;
        });
        // The lock that a killed CRIU leaves is in the place that criu.catalog names.
        const rules = run('nsenter', `--net=/proc/${target.pid}/ns/net`, 'iptables-save');
        assert.equal(/^:CRIU /m.test(rules), script === 'network-unlock', rules);
      });
    });
  }

  for (const script of ['pre-dump', 'post-dump'] as const) {
    it(`rolls the dump back if the caller leaves at ${script}`, async () => {
      await dumpUntil(script, async (client, target) => {
        client.close();
        await eventually('the engine leaves', () => engines().length === 0);
        await target.assertCountsOn();
      });
    });

    it(`rolls the dump back if the caller says no at ${script}, with one failing reply`, async () => {
      await dumpUntil(script, async (client, target) => {
        const reply = await client.answer(false).only();
        assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, false]);
        await target.assertCountsOn();
      });
    });
  }

  it('takes another message in place of an answer as a no', async () => {
    await dumpUntil('pre-dump', async (client, target) => {
      const reply = await client.send({ type: ReqType.VERSION }).only();
      assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, false]);
      await target.assertCountsOn();
    });
  });
});

describe('an engine that restores', () => {
  for (const script of restoreScripts) {
    it(`costs its caller a single failed reply if it is killed at ${script}, which the journal says`, async () => {
      const target = Target.start();
      const directory = freshDirectory();
      await withOpen([directory], async (fd) => {
        const opts = { images_dir_fd: fd };
        const dumped = await ask({ type: ReqType.DUMP, opts: { ...opts, pid: target.pid } });
        assert.equal(dumped.success, true, JSON.stringify(dumped));
        await eventually('it is gone', () => statusLine(target.pid, 'Pid') === undefined);
        const client = new Client().send({ type: ReqType.RESTORE, opts: { ...opts, notify_scripts: true } });
        await passThrough(client, restoreScripts, script);
        process.kill(await engineAtWork(), 'SIGKILL');
        await assertFailsOnce(client, ReqType.RESTORE, `CRIU_IMAGES_DIR=${directory}`);
      });
      // Between these two notifications CRIU holds the tree, which has to be killed if CRIU dies.
      if (target.alive && script !== 'post-restore') await target.assertCountsOn();
    });
  }
});

describe('a service without an engine', () => {
  it('answers each request once, with a sentence that says how to get an engine', async () => {
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

  it('reports it for a dump, and leaves the target alone', async () => {
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

describe('a silent client', () => {
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

  it('may leave before it has sent a request', async () => {
    new Client(ourAddress).close();
  });
});
