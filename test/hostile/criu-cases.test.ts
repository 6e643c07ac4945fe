/** Promises that CRIU's own service made while it still compared the uids of its callers. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { run } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { Attacker } from './support/attacker.ts';
import { besideReference, dumpOf, it, needsSysResource, show } from './support/guarantee.ts';
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

  // Not an attack: the rule is about uids. A service that compared the groups, too, would refuse an honest user.
  it('a user can dump a process of their own that has the groups of a login', async () => {
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
});
