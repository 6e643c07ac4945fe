/** Promises that CRIU's own service made while it still compared the uids of its callers. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { run } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, besideReference, dumpOf, it, needsSysResource, show } from './support/guarantee.ts';
import { directoryOf, targetOf } from './support/people.ts';

describe('the cases that CRIU’s own service once checked', () => {
  besideReference();

  show({
    guarantee: 'a user cannot dump a process of root’s',
    carriedOut: (address) => dumpOf(targetOf('root'), 'bob', address),
    refused: /has the uid 0, and yours is 1501/,
    bites: true,
  });

  show({
    guarantee: 'a user cannot dump a process of another user’s',
    carriedOut: (address) => dumpOf(targetOf('alice'), 'bob', address),
    refused: /has the uid 1500, and yours is 1501/,
    bites: needsSysResource,
  });

  // Not an attack: the groups of a login are no other user's.
  it('a user can dump a process of their own that has the groups of a login, from the same login', async () => {
    assert.match(run('id', '-nG', 'alice'), /criu-test/);
    const target = targetOf('alice');
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const reply = await alice.ask(
      { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: target.pid } },
      ourAddress,
    );
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await target.assertGone();
  });

  // CRIU's own service, as root, restores any groups. An engine that is alice cannot, so the process would be lost.
  it('a user cannot end a process of their own by a dump if it has the groups of another login', async () => {
    const target = targetOf('alice');
    const under = ['setpriv', '--reuid=alice', '--regid=alice', '--clear-groups', '--inh-caps=-all', '--'];
    const alice = new Attacker('alice', { under });
    await alice.do('open', 10, 0, directoryOf('alice'));
    const opts = { images_dir_fd: 10, pid: target.pid };
    const reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    assertRefused(reply, /has the supplementary groups alice \(1500\), criu-test \(1600\), which you lack/);
    await target.assertCountsOn();
    const served = await alice.ask(
      { type: ReqType.DUMP, opts: { ...opts, leave_running: true } },
      ourAddress,
    );
    assert.ok(served !== 'closed' && served.success, JSON.stringify(served));
    assert.match(served.cr_errmsg ?? '', /^warning: process \d+ of the tree has the supplementary groups/);
    await target.assertCountsOn();
  });
});
