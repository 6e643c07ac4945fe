/** Whatever alice leaves unanswered, unread or unfinished, bob is served meanwhile. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { type CriuReq, ReqType } from '../../src/protocol/messages.ts';
import { cannotShowHere, eventually, inVm } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { allWait, engines } from '../system/support/it.ts';
import { childrenOf } from '../system/support/proc.ts';
import { referenceAddress, referencePid } from '../system/support/reference.ts';
import { Attacker, AttackFailed, connection } from './support/attacker.ts';
import { assertServed, besideReference, it } from './support/guarantee.ts';
import { directoryOf, targetOf } from './support/people.ts';
import { SilentMount } from './support/silent-mount.ts';

/** Longer than any test may take: whoever waits for it has stopped. */
const lingerSeconds = 600;

const { EPERM, EPIPE } = constants.errno;

/** alice with a socket whose close(2) takes ten minutes, sent along if the kernel lets her. */
async function lingering(): Promise<Attacker> {
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  await alice.do('linger', 20, lingerSeconds);
  await alice.connect(ourAddress);
  return alice;
}

/**
 * Linux 6.16 can refuse descriptors at the door (SO_PASSRIGHTS), which is the best end of such a packet. Elsewhere the copy on its
 * way is the last one: whoever closes that has to wait. Without a packet it would be alice herself.
 */
async function sendAlong(alice: Attacker, message: CriuReq | Uint8Array): Promise<void> {
  try {
    await alice.send(message, 20);
    await alice.do('close', 20);
  } catch (error) {
    // EPIPE: the service has answered what came before, and closed, which is no worse.
    if (!(error instanceof AttackFailed) || ![EPERM, EPIPE].includes(error.errno)) throw error;
  }
}

// No bite on CRIU's own service: it forks for each connection, so that only the fork waits. What bites is any service with one
// event loop that closes such a descriptor by itself, as this one did before.
describe('a socket that lingers, sent along by alice', () => {
  it('does not hold up the service when its packet is peeked at and served', async () => {
    const alice = await lingering();
    const target = targetOf('alice');
    const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true };
    await sendAlong(alice, { type: ReqType.DUMP, opts });
    await assertServed('bob');
  });

  it('does not hold up the service when its packet is refused', async () => {
    const alice = await lingering();
    await sendAlong(alice, Buffer.from('no request at all'));
    await assertServed('bob');
  });

  it('does not hold up the service when it is never read, behind a good packet', async () => {
    const alice = await lingering();
    await alice.send({ type: ReqType.VERSION });
    await sendAlong(alice, { type: ReqType.VERSION });
    await assertServed('bob');
    await assertServed('bob');
  });

  it('does not hold up the service when alice leaves without a word more', async () => {
    const alice = await lingering();
    await sendAlong(alice, { type: ReqType.VERSION, keep_open: true });
    await alice.do('close', connection);
    await assertServed('bob');
  });
});

describe('a directory of alice’s on a file system that never answers', () => {
  for (const [what, byPath] of [
    ['by descriptor', false],
    ['by path', true],
  ] as const) {
    // No bite on CRIU's own service: it forks for each connection. A service that opened the directory itself would stop here.
    it(`holds up alice alone (${what})`, async function () {
      if (!inVm) cannotShowHere(this, 'the container may not open /dev/fuse');
      const mount = SilentMount.of('alice');
      try {
        const alice = new Attacker('alice');
        await alice.do('open', 10, 0o10000000, mount.path);
        await alice.connect(ourAddress);
        const opts = byPath ? { images_dir_fd: -1, images_dir: mount.path } : { images_dir_fd: 10 };
        await alice.send({ type: ReqType.CPUINFO_DUMP, opts });
        await mount.asked();
        await assertServed('bob');
        const reply = await alice.receive();
        assert.ok(reply !== 'closed' && !reply.success);
        assert.match(reply.cr_errmsg ?? '', /took longer than/);
        await assertServed('bob');
      } finally {
        mount.end();
      }
    });
  }
});

describe('connections that say nothing', () => {
  besideReference();

  it('cost no process, and others are served at once beside a thousand of them', async () => {
    const alice = new Attacker('alice');
    assert.equal(await alice.do('many', 1000, ourAddress), '1000');
    await assertServed('bob');
    await allWait();
    await eventually('no engine is at work', () => engines().length === 0);
  });

  it('cost CRIU’s own service a process each', async () => {
    const alice = new Attacker('alice');
    assert.equal(await alice.do('many', 50, referenceAddress), '50');
    await eventually('it has forked', () => childrenOf(referencePid()!).length >= 50);
    await alice.end();
    await eventually('they have ended', () => childrenOf(referencePid()!).length === 0);
  });
});

// No bite: CRIU's own service forks for each connection. This one could stop at such a dialog, and does not.
describe('a notification that alice never answers', () => {
  it('holds up alice alone', async () => {
    const target = targetOf('alice');
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const opts = { images_dir_fd: 10, pid: target.pid, notify_scripts: true };
    const reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    assert.ok(reply !== 'closed' && reply.notify?.script === 'pre-dump');
    await assertServed('bob');
    await assertServed('alice');
    await alice.end();
    await target.assertCountsOn();
  });

  it('does not fill the service, when she sends and never reads', async () => {
    const alice = new Attacker('alice');
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.VERSION, keep_open: true });
    await assertServed('bob');
    await alice.end();
    await assertServed('bob');
  });
});
