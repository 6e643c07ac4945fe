/** Requests in flight survive: if the service is killed or restarted halfway through a request, its caller sees only a pause. */
import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { assertRefused, it } from '../hostile/support/guarantee.ts';
import { AlicesImages, assertNeverRan, checkpointRestore, restoreUntil } from '../hostile/support/images.ts';
import { directoryOf, targetOf } from '../hostile/support/people.ts';
import { eventually, freshDirectory, needsSoftDirty, run } from './support/bench.ts';
import { ask, Client, ourAddress, withOpen } from './support/client.ts';
import { engines } from './support/it.ts';
import { Target } from './support/targets.ts';
import { mainPid, show } from './support/unit.ts';

/** The ways in which the service may end. */
const ways: readonly [string, () => Promise<void>][] = [
  ['killed', killed],
  [
    'restarted',
    async () => {
      run('systemctl', 'restart', 'criu.service');
    },
  ],
];

async function killed(): Promise<void> {
  const pid = mainPid();
  process.kill(pid, 'SIGKILL');
  await eventually('systemd has started it again', () => mainPid() > 0 && mainPid() !== pid);
}

async function assertStoreIsEmpty(): Promise<void> {
  await eventually(
    'systemd keeps nothing any more',
    () => show('criu.service', 'NFileDescriptorStore').NFileDescriptorStore === '0',
  );
}

/** Says yes to the notifications that are left, and hears a success. Whatever the service passes on just when it goes comes twice. */
async function assertGoesThrough(client: Client, scripts: readonly string[]): Promise<void> {
  const heard: string[] = [];
  const replies: CriuResp[] = [];
  for (let got = await client.next(); got !== 'closed'; got = await client.next()) {
    if (got.type !== ReqType.NOTIFY) {
      replies.push(got);
      continue;
    }
    const script = got.notify!.script!;
    if (heard.at(-1) !== script) heard.push(script);
    answerUnlessEnded(client);
  }
  client.close();
  assert.deepEqual(
    heard.filter((script) => scripts.includes(script)),
    scripts,
  );
  const [reply, again, ...more] = replies;
  assert.equal(reply?.success, true, JSON.stringify(replies));
  assert.deepEqual([again ?? reply, more], [reply, []]);
}

/** The second answer to what came twice may meet a connection that has ended. */
function answerUnlessEnded(client: Client): void {
  try {
    client.answer(true);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

for (const [how, goes] of ways) {
  describe(`a service that is ${how} in the middle of a request`, () => {
    it('goes on with a dump of root’s that waits for an answer', async () => {
      const target = Target.start();
      await withOpen([freshDirectory()], async (images) => {
        const client = new Client();
        const opts = { images_dir_fd: images, pid: target.pid, notify_scripts: true };
        client.send({ type: ReqType.DUMP, opts });
        await client.notified('pre-dump');
        await goes();
        client.answer(true);
        await client.notified('query-ext-files', 'pre-dump');
        client.answer(true);
        await client.notified('post-dump');
        await goes();
        client.answer(true);
        await assertGoesThrough(client, []);
      });
      await target.assertGone();
      await assertStoreIsEmpty();
    });

    it('delivers an engine’s messages that came meanwhile', async () => {
      const target = Target.start();
      await withOpen([freshDirectory()], async (images) => {
        const client = new Client();
        const opts = { images_dir_fd: images, pid: target.pid, notify_scripts: true, leave_running: true };
        client.send({ type: ReqType.DUMP, opts });
        await client.notified('pre-dump');
        // The answer is in flight when the service ends, and so is the engine's next message.
        client.answer(true);
        await goes();
        await assertGoesThrough(client, ['query-ext-files', 'post-dump']);
      });
      await target.assertCountsOn();
      await assertStoreIsEmpty();
    });

    it('goes on between two requests of one connection', async () => {
      const client = new Client();
      client.send({ type: ReqType.CPUINFO_DUMP, keep_open: true, opts: openDirectory() });
      const first = await client.next();
      assert.ok(first !== 'closed' && first.success, JSON.stringify(first));
      await goes();
      const second = await client.send({ type: ReqType.VERSION }).only();
      assert.equal(second.success, true, JSON.stringify(second));
      await assertStoreIsEmpty();
    });

    it('goes on between two rounds of a pre-dump loop', async function () {
      needsSoftDirty(this);
      const target = Target.start();
      await withOpen([freshDirectory(), freshDirectory()], async (first, last) => {
        const client = new Client();
        client.send({
          type: ReqType.PRE_DUMP,
          opts: { images_dir_fd: first, pid: target.pid, track_mem: true },
        });
        const round = await client.next();
        assert.ok(round !== 'closed' && round.success, JSON.stringify(round));
        await goes();
        client.send({
          type: ReqType.DUMP,
          opts: { images_dir_fd: last, pid: target.pid, leave_running: true },
        });
        const reply = await client.only();
        assert.equal(reply.success, true, JSON.stringify(reply));
      });
      await target.assertCountsOn();
      await assertStoreIsEmpty();
    });

    it('verifies alice’s restore, and lets it run', async () => {
      const images = await AlicesImages.make();
      try {
        const { alice } = await restoreUntil(images, 'post-restore');
        await goes();
        await alice.send({ type: ReqType.NOTIFY, notify_success: true });
        for (;;) {
          const message = await alice.receive();
          assert.ok(message !== 'closed');
          if (message.type === ReqType.RESTORE) {
            assert.equal(message.success, true, JSON.stringify(message));
            break;
          }
          await alice.send({ type: ReqType.NOTIFY, notify_success: true });
        }
        await eventually('it runs', () => images.ran);
        assert.equal(images.holdsCapability, false);
      } finally {
        await images.end();
      }
      await assertStoreIsEmpty();
    });

    it('does not let alice’s restore run with more rights than she has', async () => {
      const images = await AlicesImages.make();
      await images.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore });
      try {
        const { alice } = await restoreUntil(images, 'post-restore');
        await goes();
        await alice.send({ type: ReqType.NOTIFY, notify_success: true });
        let reply = await alice.receive();
        // It may come twice (assertGoesThrough).
        if (reply !== 'closed' && reply.notify?.script === 'post-restore') reply = await alice.receive();
        assertRefused(reply, /capabilities that you do not have/);
        await assertNeverRan(images);
      } finally {
        await images.end();
      }
      await assertStoreIsEmpty();
    });

    it('leaves the process of a caller that leaves meanwhile as it was', async () => {
      const target = targetOf('alice');
      const alice = new Attacker('alice');
      await alice.do('open', 10, 0, directoryOf('alice'));
      const opts = { images_dir_fd: 10, pid: target.pid, notify_scripts: true };
      const first = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
      assert.ok(first !== 'closed' && first.notify?.script === 'pre-dump');
      const going = goes();
      await alice.end();
      await going;
      await eventually('the engine has left', () => engines().length === 0);
      await target.assertCountsOn();
      await assertStoreIsEmpty();
    });
  });
}

/** An images directory that stays open for the rest of the run. */
function openDirectory(): { images_dir_fd: number } {
  return { images_dir_fd: openSync(freshDirectory(), 'r') };
}

describe('a service that is restarted', () => {
  it('keeps a connection without a request', async () => {
    const client = new Client();
    // When a later connection is answered, this connection has been accepted.
    await ask({ type: ReqType.VERSION });
    run('systemctl', 'restart', 'criu.service');
    const reply = await client.send({ type: ReqType.VERSION }).only();
    assert.equal(reply.success, true, JSON.stringify(reply));
    await assertStoreIsEmpty();
  });
});
