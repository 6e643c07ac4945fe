/** Callers and trees with more tasks than anybody has: reading them takes its time, and nobody else's. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { binary } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import type { Target } from '../system/support/targets.ts';
import { Attacker, connection } from './support/attacker.ts';
import { assertRefused, assertServed, it } from './support/guarantee.ts';
import { directoryOf, startCounting, targetOf, uids } from './support/people.ts';

describe('a caller with thousands of threads', () => {
  it('is refused, and holds up nobody else', async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('threads', 2000);
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
    await assertServed('bob');
    assertRefused(await alice.receive(), /2001 threads is not served; the limit is 1024/);
  });

  it('is served with hundreds, as anybody is', async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('threads', 200);
    const request = { type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } };
    const reply = await alice.ask(request, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
  });
});

describe('a tree of a thousand tasks', () => {
  /** A thousand tasks of alice's; the process that is read last is bob's, so that the end of the reading is a refusal. */
  function forest(): Target {
    const [alice, bob] = [String(uids.alice), String(uids.bob)];
    return startCounting('root', [], binary('targets'), 'forest', '10', '100', bob, alice);
  }

  // In the order of events, not by a clock: bob has two answers before alice has hers. A service that reads without interruption
  // gets to the first of them at most, while it still reads what alice herself is. Once is enough.
  it('is read in between the requests of others', async () => {
    const tree = forest();
    const roots = targetOf('root');
    let overtaken = false;
    for (let round = 0; round < 5 && !overtaken; round += 1) {
      const [alice, bob] = [new Attacker('alice'), new Attacker('bob')];
      for (const each of [alice, bob]) await each.do('open', 10, 0, '/');
      await alice.connect(ourAddress);
      const opts = { images_dir_fd: 10, pid: tree.pid, leave_running: true };
      await alice.send({ type: ReqType.DUMP, opts });
      for (let asked = 0; asked < 2; asked += 1) {
        // Without an engine, so that nothing but the service has anything to do for him.
        const request = { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: roots.pid } };
        assertRefused(await bob.ask(request, ourAddress), /has the uid 0/);
      }
      overtaken = (await alice.do('pending', connection)) === '0';
      assertRefused(await alice.receive(), /process \d+ of the tree has the uid 1501/);
      await alice.end();
      await bob.end();
    }
    assert.ok(overtaken, 'bob was never served before the tree was read');
    await tree.assertCountsOn();
  });
});
