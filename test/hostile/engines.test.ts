/** An engine that has become alice can be killed, stopped and starved by alice: the loss is hers alone. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { engines } from '../system/support/it.ts';
import { cgroupOf, statusLine } from '../system/support/proc.ts';
import { withSettings } from '../system/support/settings.ts';
import type { Target } from '../system/support/targets.ts';
import { Attacker, AttackFailed } from './support/attacker.ts';
import { assertRefused, assertServed, it } from './support/guarantee.ts';
import { asCapable, directoryOf, targetOf, uids } from './support/people.ts';

const { SIGKILL, SIGSTOP, SIGCONT } = constants.signals;
const { EPERM, ESRCH } = constants.errno;
const RLIMIT_FSIZE = 1;
const RLIMIT_NOFILE = 7;

const scripts = ['pre-dump', 'query-ext-files', 'post-dump'] as const;

/** Brings a dump of alice's to a notification, then acts on the engine, which waits for her answer. */
async function at(
  script: (typeof scripts)[number],
  act: (alice: Attacker, engine: number, target: Target) => Promise<void>,
): Promise<void> {
  const target = targetOf('alice');
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  await alice.connect(ourAddress);
  await alice.send({
    type: ReqType.DUMP,
    opts: { images_dir_fd: 10, pid: target.pid, notify_scripts: true },
  });
  for (;;) {
    const message = await alice.receive();
    assert.ok(message !== 'closed' && message.type === ReqType.NOTIFY, JSON.stringify(message));
    if (message.notify?.script === script) break;
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
  }
  const engine = engines().find((pid) => statusLine(pid, 'Uid')?.startsWith(`${uids.alice}\t`));
  assert.ok(engine !== undefined, 'there is no engine that has become alice');
  await act(alice, engine, target);
}

const ofOneEngine = /\/criu-engine-[0-9a-f]+-\d+$/;

// No bites: the engines of CRIU's own service are root's, so that only root can touch them; the price is that these engines may
// do anything. The tests show that an engine can run as its caller without harm to the service, to other users or to the dumped
// process.
describe('an engine that alice ends, stops or starves', () => {
  for (const script of scripts) {
    it(`costs a single failed reply if it is killed at ${script}, and the target runs on`, async () => {
      await at(script, async (alice, engine, target) => {
        await alice.do('kill', engine, SIGKILL);
        const reply = await alice.receive();
        assertRefused(reply, /signal 9/);
        assert.equal(await alice.receive(), 'closed');
        await target.assertCountsOn();
        await assertServed('bob');
      });
    });

    it(`blocks alice alone if it is stopped at ${script}, and goes on when it is continued`, async () => {
      await at(script, async (alice, engine, target) => {
        await alice.do('kill', engine, SIGSTOP);
        await alice.send({ type: ReqType.NOTIFY, notify_success: true });
        await assertServed('bob');
        assert.match(statusLine(engine, 'State') ?? '', /^T/);
        await alice.do('kill', engine, SIGCONT);
        // alice says no to all further notifications, so that the target stays.
        for (;;) {
          const message = await alice.receive();
          if (message === 'closed' || message.type !== ReqType.NOTIFY) break;
          await alice.send({ type: ReqType.NOTIFY, notify_success: false });
        }
        await eventually('the dump has ended one way or the other', () => engines().length === 0);
        if (script !== 'post-dump') await target.assertCountsOn();
        else await target.assertGone();
      });
    });

    for (const [resource, limit] of [
      ['files', RLIMIT_FSIZE],
      ['descriptors', RLIMIT_NOFILE],
    ] as const) {
      it(`gets one reply if it may have no more ${resource} from ${script} on`, async () => {
        await at(script, async (alice, engine, target) => {
          // The capability that the engine holds and alice lacks does not protect the engine from prlimit(2) by an equal uid.
          await alice.do('prlimit', engine, limit, 0);
          for (;;) {
            await alice.send({ type: ReqType.NOTIFY, notify_success: true }).catch(() => {});
            const message = await alice.receive();
            if (message === 'closed' || message.type !== ReqType.NOTIFY) {
              assert.notEqual(message, 'closed');
              break;
            }
          }
          await eventually('the engine leaves', () => engines().length === 0);
          if (target.alive) await target.assertCountsOn();
          await assertServed('bob');
        });
      });
    }
  }

  it('still takes signals of alice’s if it was stopped and its caller has left', async () => {
    await at('pre-dump', async (alice, engine) => {
      await alice.do('kill', engine, SIGSTOP);
      await alice.end();
      await assertServed('bob');
      const other = new Attacker('alice');
      await other.do('kill', engine, SIGKILL);
      await eventually('it is gone', () => engines().length === 0);
    });
  });
});

describe('an engine that has become alice', () => {
  it('cannot be traced by her, and another engine does not dump it for her', async () => {
    await at('pre-dump', async (_alice, engine, target) => {
      const other = new Attacker('alice');
      const trace = await other.do('trace', engine).catch((error) => (error as AttackFailed).errno);
      assert.equal(trace, EPERM);
      await other.do('open', 10, 0, directoryOf('alice'));
      const reply = await other.ask(
        { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: engine } },
        ourAddress,
      );
      assertRefused(reply, /is an engine of this service|holds capabilities that you do not hold/);
      // An engine is not dumpable: even a process that holds the same capability cannot trace it.
      const capable = new Attacker('alice', { under: asCapable('alice') });
      assert.equal(await capable.do('trace', engine).catch((error) => (error as AttackFailed).errno), EPERM);
      // The bite: another process that holds the same capability can be traced.
      const victim = new Attacker('alice', { under: asCapable('alice') });
      await victim.do('open', 10, 0, '/');
      assert.equal(await capable.do('trace', victim.pid), '0');
      await capable.end();
      assert.equal(statusLine(target.pid, 'TracerPid'), '0');
    });
  });

  it('is in a cgroup that she cannot write: she can neither add nor remove a process', async () => {
    await at('pre-dump', async (alice, engine) => {
      const cgroup = cgroupOf(engine);
      assert.match(cgroup, ofOneEngine);
      for (const [file, value] of [
        ['cgroup.procs', String(alice.pid)],
        ['cgroup.freeze', '1'],
        ['cgroup.kill', '1'],
      ]) {
        const path = `/sys/fs/cgroup${cgroup}/${file}`;
        await assert.rejects(
          alice.do('write', path, Buffer.from(value!).toString('hex')),
          (error) => error instanceof AttackFailed && error.errno !== ESRCH,
          path,
        );
      }
      await assertServed('bob');
    });
  });

  it('cannot be signalled by other users', async () => {
    await at('pre-dump', async (_alice, engine) => {
      const bob = new Attacker('bob');
      for (const signal of [SIGKILL, SIGSTOP]) {
        await assert.rejects(
          bob.do('kill', engine, signal),
          (error) => error instanceof AttackFailed && error.errno === EPERM,
        );
      }
    });
  });
});

describe('a machine that cannot start a process in another cgroup', () => {
  // As on a processor for which the addon has no code for clone3(2). The C library works without it, too.
  withSettings('SystemCallFilter=~clone3', 'SystemCallErrorNumber=ENOSYS');

  it('still has alice’s engine in a cgroup of its own', async () => {
    await at('pre-dump', async (alice, engine, target) => {
      assert.match(cgroupOf(engine), ofOneEngine);
      await alice.end();
      await target.assertCountsOn();
    });
  });
});
