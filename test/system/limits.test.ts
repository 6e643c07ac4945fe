/** Limits of a user's share of the service, and of the time of a request. */
import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { as } from '../hostile/support/people.ts';
import { eventually, freshDirectory } from './support/bench.ts';
import { ask, Client, ourAddress, withOpen } from './support/client.ts';
import { Instance } from './support/instance.ts';
import { engines } from './support/it.ts';
import { journalOf } from './support/journal.ts';
import { residentKiB } from './support/proc.ts';
import { Target } from './support/targets.ts';
import { mainPid } from './support/unit.ts';

const { EAGAIN, EPERM, ETIMEDOUT } = os.errno;
const version: CriuReq = { type: ReqType.VERSION };

async function withInstance(options: string[], body: (service: Instance) => Promise<void>): Promise<void> {
  const service = await Instance.start(...options);
  try {
    await body(service);
  } finally {
    service.stop();
  }
}

describe('a user with more connections than a user may have', () => {
  it('gets one reply for each excess connection, and other users are served', async () => {
    await withInstance(['--max-sessions-per-user', '3'], async ({ address }) => {
      const alice = new Attacker('alice');
      assert.equal(await alice.do('many', 3, address), '3');
      const reply = await alice.ask(version, address);
      assert.ok(reply !== 'closed');
      assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.EMPTY, false, EAGAIN]);
      assert.match(reply.cr_errmsg ?? '', /--max-sessions-per-user/);
      const bob = await new Attacker('bob').ask(version, address);
      assert.ok(bob !== 'closed' && bob.success);
      // Root may use all connections.
      const held = [1, 2, 3, 4].map(() => new Client(address));
      assert.equal((await ask(version, address)).success, true);
      for (const client of held) client.close();
      await alice.end();
      const again = new Attacker('alice');
      const isServed = async (): Promise<boolean> => {
        const served = await again.ask(version, address);
        return served !== 'closed' && served.success;
      };
      // The service learns of the end of each of her connections separately.
      let served = false;
      for (let asked = 0; asked < 10_000 && !served; asked += 1) served = await isServed();
      assert.ok(served, 'her places are free again');
    });
  });

  it('uses connections only: no process, little memory, and no time of other callers', async () => {
    const quiet = await quickest();
    const before = residentKiB(mainPid());
    const alice = new Attacker('alice');
    assert.equal(await alice.do('many', 1000, ourAddress), '1000');
    const bob = await new Attacker('bob').ask(version, ourAddress);
    assert.ok(bob !== 'closed' && bob.success);
    const busy = await quickest();
    const grown = residentKiB(mainPid()) - before;
    console.log(
      `      1000 silent connections: ${quiet.toFixed(2)} ms before, ${busy.toFixed(2)} ms beside them; ${grown} KiB more`,
    );
    assert.ok(grown < 20 * 1024, `the service has grown by ${grown} KiB`);
    await eventually('the engines have left', () => engines().length === 0);
    assert.deepEqual(engines(), []);
  });
});

/** Milliseconds for VERSION, from connect to reply: the median of a few. */
async function quickest(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 9; i += 1) {
    const start = performance.now();
    assert.equal((await ask(version)).success, true);
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[4]!;
}

describe('a caller of another user namespace', () => {
  it('is refused as soon as it is accepted, whatever it asks', async () => {
    const alice = new Attacker('alice', { under: [...as('alice'), 'unshare', '--user', '--map-root-user'] });
    const reply = await alice.ask(version, ourAddress);
    assert.ok(reply !== 'closed');
    assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.EMPTY, false, EPERM]);
    assert.match(reply.cr_errmsg ?? '', /lives in a user namespace of its own .*login shell/);
  });
});

describe('a dump that is cut off', () => {
  for (const script of ['pre-dump', 'post-dump'] as const) {
    it(`because ${script} is not answered gets one reply; the process runs on, which the journal says`, async () => {
      await withInstance(['--notify-timeout', '30'], async ({ address, unit }) => {
        const target = Target.start();
        await withOpen([freshDirectory()], async (fd) => {
          const client = new Client(address).send({
            type: ReqType.DUMP,
            opts: { images_dir_fd: fd, pid: target.pid, notify_scripts: true },
          });
          await client.notified('pre-dump');
          if (script === 'post-dump') {
            await client.answer(true).notified('query-ext-files');
            await client.answer(true).notified('post-dump');
          }
          const reply = await client.only();
          assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.DUMP, false, ETIMEDOUT]);
        });
        await target.assertCountsOn();
        await eventually('the journal says how the process is', () =>
          journalOf(unit, `CRIU_TARGET_PID=${target.pid}`).some(({ MESSAGE }) =>
            MESSAGE?.includes(`the tree of process ${target.pid} runs on`),
          ),
        );
      });
    });
  }
});
