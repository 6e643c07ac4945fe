/** Requests, packets and file systems that alice leaves unanswered, unread or unfinished: bob is served meanwhile. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CriuReq, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { binary, eventually } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { allWait, engines } from '../system/support/it.ts';
import { childrenOf, statusLine } from '../system/support/proc.ts';
import { referenceAddress, referencePid } from '../system/support/reference.ts';
import { mainPid } from '../system/support/unit.ts';
import { Attacker, AttackFailed, connection } from './support/attacker.ts';
import { assertRefused, assertServed, besideReference, it } from './support/guarantee.ts';
import { directoryOf, startCounting, targetOf } from './support/people.ts';
import { needsFuse, SilentMount } from './support/silent-mount.ts';

/** Longer than any test may take: a process that waits for it has stopped. */
const lingerSeconds = 600;

/** How long the test waits for alice, in case she has to wait herself. */
const patienceMs = 5000;

const { EPERM, EPIPE } = constants.errno;

/** alice with a socket whose close(2) takes ten minutes. It is sent along if the kernel allows that. */
async function lingering(): Promise<Attacker> {
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  await alice.do('linger', 20, lingerSeconds);
  await alice.connect(ourAddress);
  return alice;
}

/**
 * Linux 6.16 can refuse descriptors at the door (SO_PASSRIGHTS), which is the best end of such a packet. On older kernels the
 * copy in the packet is the last: the process that closes it has to wait. Without a packet, alice's own copy is the last.
 */
async function sendAlong(alice: Attacker, message: CriuReq | Uint8Array): Promise<void> {
  try {
    await alice.send(message, 20);
    // If the service has closed its copy before, alice's is the last, and her close(2) waits.
    await Promise.race([alice.do('close', 20), sleep(patienceMs)]);
  } catch (error) {
    // EPIPE: the service answered the packets before this one and closed the connection, which is as good.
    if (!(error instanceof AttackFailed) || ![EPERM, EPIPE].includes(error.errno)) throw error;
  }
}

// No bite on CRIU's own service: it forks for each connection, so that only the fork waits. The attack bites a service with a
// single event loop that closes such a descriptor itself, as this service once did.
describe('a socket that lingers, sent along by alice', () => {
  it('does not block the service if its packet is peeked at and served', async () => {
    const alice = await lingering();
    const target = targetOf('alice');
    const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true };
    await sendAlong(alice, { type: ReqType.DUMP, opts });
    await assertServed('bob');
  });

  it('does not block the service if its packet is refused', async () => {
    const alice = await lingering();
    await sendAlong(alice, Buffer.from('no request at all'));
    await assertServed('bob');
  });

  it('does not block the service if its packet is never read, behind a good packet', async () => {
    const alice = await lingering();
    await alice.send({ type: ReqType.VERSION });
    await sendAlong(alice, { type: ReqType.VERSION });
    await assertServed('bob');
    await assertServed('bob');
  });

  it('does not block the service if alice then closes her connection', async () => {
    const alice = await lingering();
    await sendAlong(alice, { type: ReqType.VERSION, keep_open: true });
    await alice.do('close', connection);
    await assertServed('bob');
  });
});

describe('a directory of alice’s on a file system that never answers', () => {
  for (const [way, byPath] of [
    ['by descriptor', false],
    ['by path', true],
  ] as const) {
    // No bite on CRIU's own service: it forks for each connection. A service that opened the directory itself would stop here.
    it(`blocks alice alone (${way})`, async function () {
      needsFuse(this);
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

/** From here on alice's first process is inside execve(2), which waits for her file system. A child of it obeys the test. */
async function enterExec(alice: Attacker, mount: SilentMount): Promise<void> {
  await alice.do('leave-to-child', '/usr/bin/true');
  await mount.asked();
}

/** The threads of the service: each reading that blocks costs a thread. */
const threadsOfService = (): number => Number(statusLine(mainPid(), 'Threads'));

// The bite: a service that reads such a process on its event loop. If caller-reader.ts reads in place, bob waits for ever.
describe('a process inside execve(2), where a file system of alice’s keeps it', () => {
  let mount: SilentMount;

  /**
   * @param how what waits for her file system: unmapping a file, which on any kernel happens under the locks of exec that
   *   readings of /proc need (exec_mmap in fs/exec.c); or closing a descriptor, for which Linux 6.12 waits before it takes all of
   *   these locks.
   */
  const itInside = (
    title: string,
    how: 'map' | 'hold-until-exec',
    body: (alice: Attacker) => Promise<void>,
  ): void => {
    it(title, async function () {
      needsFuse(this);
      mount = SilentMount.of('alice', 'flush');
      const alice = new Attacker('alice');
      try {
        await alice.do(how, mount.file);
        await body(alice);
      } finally {
        mount.end();
      }
    });
  };

  itInside(
    'delays alice alone if it is the caller, and only until execve(2) returns',
    'map',
    async (alice) => {
      const before = threadsOfService();
      await alice.do('open', 10, 0, directoryOf('alice'));
      await alice.connect(ourAddress);
      await enterExec(alice, mount);
      await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
      await assertServed('bob');
      const reply = await alice.receive();
      await assertServed('bob');
      if (reply !== 'closed' && /privilege boundary/.test(reply.cr_errmsg ?? '')) {
        // Linux 7 makes no reader wait: it shows an empty auxv, which counts as a privilege boundary.
        assertRefused(reply, /AT_SECURE/);
        await eventually('no thread is lost', () => threadsOfService() === before);
        return;
      }
      assertRefused(reply, /inside execve/);
      // Others may be on their way out.
      await eventually('a single thread is lost', () => threadsOfService() === before + 1);
      const other = new Attacker('alice');
      await other.do('open', 10, 0, directoryOf('alice'));
      const request = { type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } };
      assertRefused(await other.ask(request, ourAddress), /earlier caller with this uid/);
      await eventually('no second thread is lost to her', () => threadsOfService() === before + 1);
      mount.end();
      await eventually('the thread is back', () => threadsOfService() === before);
      await assertServed('alice');
    },
  );

  itInside('blocks only alice’s requests if it is to be dumped', 'map', async (alice) => {
    await enterExec(alice, mount);
    await dumpAndLeave(alice.pid);
  });

  itInside('blocks nobody else if a child of it asks for a dump', 'hold-until-exec', async (alice) => {
    const target = targetOf('alice');
    await enterExec(alice, mount);
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.connect(ourAddress);
    // The ancestors of a caller are read in any case.
    await alice.send({
      type: ReqType.DUMP,
      opts: { images_dir_fd: 10, pid: target.pid, leave_running: true },
    });
    await assertServed('bob');
    assert.notEqual(await alice.receive(), 'closed');
    await assertServed('bob');
    await target.assertCountsOn();
  });

  itInside(
    'blocks only alice’s requests if it is in a tree that is to be dumped',
    'hold-until-exec',
    async (alice) => {
      // Her first process is the root of the tree, and waits; the second goes into execve(2), and a third obeys the test.
      await alice.do('fork');
      await alice.do('leave-to-child', '/usr/bin/true');
      await mount.asked();
      await dumpAndLeave(alice.pid);
    },
  );

  /**
   * alice asks for a dump of the process. Its namespaces cannot be read, so she is refused. On Linux 7 they can: then an engine waits
   * for the process as long as the kernel does, and alice leaves.
   */
  async function dumpAndLeave(pid: number): Promise<void> {
    const other = new Attacker('alice');
    await other.do('open', 10, 0, directoryOf('alice'));
    await other.connect(ourAddress);
    // The test needs no images that could be restored.
    await other.send({ type: ReqType.DUMP, opts: { images_dir_fd: 10, pid, leave_running: true } });
    await assertServed('bob');
    let reply: CriuResp | 'closed' | undefined;
    const told = other.receive().then(
      (received) => {
        reply = received;
      },
      () => {},
    );
    await eventually('alice is refused, or an engine is at work', () => !!reply || engines().length > 0);
    if (reply) assertRefused(reply, /cannot be looked at: .* inside execve\(2\)/);
    await assertServed('bob');
    await other.end();
    await told;
    await assertServed('bob');
    mount.end();
    await eventually('no engine is left', () => engines().length === 0);
  }
});

describe('a process with a directory on a file system of alice’s that has fallen silent', () => {
  let mount: SilentMount;

  const itThere = (title: string, body: () => Promise<void>): void => {
    it(title, async function () {
      needsFuse(this);
      mount = SilentMount.of('alice', 'flush');
      try {
        await body();
      } finally {
        mount.end();
      }
    });
  };

  itThere('is served like any other if that is the caller’s working directory', async () => {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('chdir', mount.path);
    await mount.fallSilent();
    const request = { type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } };
    const reply = await alice.ask(request, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await assertServed('bob');
  });

  itThere('is refused if that is the caller’s root', async () => {
    const alice = new Attacker('root');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.do('reconnect-as', 'alice', ourAddress, mount.path);
    await mount.fallSilent();
    await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
    await assertServed('bob');
    assertRefused(await alice.receive(), /root directory/);
  });

  itThere('blocks only alice’s requests if it is to be dumped', async () => {
    const there = startCounting('alice', [], 'env', `--chdir=${mount.path}`, binary('counter'));
    await mount.fallSilent();
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    await alice.connect(ourAddress);
    const opts = { images_dir_fd: 10, pid: there.pid, leave_running: true };
    await alice.send({ type: ReqType.DUMP, opts });
    await mount.asked();
    await assertServed('bob');
    await alice.end();
    await assertServed('bob');
    mount.end();
    await eventually('the engine has left', () => engines().length === 0);
  });
});

describe('silent connections', () => {
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

// No bite: CRIU's own service forks for each connection. A service with a single event loop could stop at such a dialog.
describe('a notification that alice never answers', () => {
  it('blocks alice alone', async () => {
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

  it('does not fill the service if she sends and never reads', async () => {
    const alice = new Attacker('alice');
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.VERSION, keep_open: true });
    await assertServed('bob');
    await alice.end();
    await assertServed('bob');
  });
});
