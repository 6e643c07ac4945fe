/** Costs that alice can cause for free are bounded: launchers that a file system keeps, and requests that wait. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { Instance } from '../system/support/instance.ts';
import { childrenOf, processesNamed, residentKiB, statusLine } from '../system/support/proc.ts';
import { mainPid } from '../system/support/unit.ts';
import { Attacker, AttackFailed, connection, endAttackers, hex } from './support/attacker.ts';
import { assertServed, it } from './support/guarantee.ts';
import { directoryOf, targetOf, uids } from './support/people.ts';
import { needsFuse, SilentMount } from './support/silent-mount.ts';

describe('launchers that a file system of alice’s keeps', () => {
  const limit = 2;
  const asked = 3 * limit;

  /** Launchers that the service has started for her. A launcher that was killed and waits for her file system is still there. */
  function launchersOf(service: Instance): number[] {
    const children = childrenOf(mainPid(service.unit));
    const hers = (pid: number): boolean => statusLine(pid, 'Uid')?.startsWith(`${uids.alice}\t`) ?? false;
    return processesNamed('criu-launcher').filter((pid) => children.includes(pid) && hers(pid));
  }

  // When bob has been served so often, one request after the other, three launchers have ended, and all queued work has advanced.
  it('are at most as many as her engines may be, and bob is served', async function () {
    needsFuse(this);
    const service = await Instance.start('--max-engines-per-user', String(limit));
    const mount = SilentMount.of('alice');
    try {
      const all = await Promise.all(Array.from({ length: asked }, () => ask(service.address, mount.path)));
      const first = new Set<Attacker>();
      const replies = all.map((alice) => alice.receive().finally(() => first.add(alice)));
      for (const reply of replies) reply.catch(() => {});
      await eventually('the first of them have been given up', () => first.size >= limit);
      for (let round = 0; round < 3; round += 1) await assertServed('bob', service.address);
      const launchers = launchersOf(service);
      assert.ok(launchers.length > 0, 'the file system keeps none: the attack does not bite');
      assert.ok(launchers.length <= limit, `${launchers.length} launchers, with a limit of ${limit}`);
      mount.end();
      await Promise.all(replies);
      await eventually('no launcher is left', () => launchersOf(service).length === 0);
    } finally {
      mount.end();
      await stop(service);
    }
  });

  async function ask(address: string, path: string): Promise<Attacker> {
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0o10000000, path);
    await alice.connect(address);
    await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
    return alice;
  }
});

describe('large requests of alice’s that wait', () => {
  const requests = 110;
  /** An eighth of their former cost: some 7 MB each. */
  const mostGrowthKiB = 96 * 1024;
  /** As many list entries as fit into the largest packet of any user. */
  const entries = 60_000;

  it('cost little more memory than their bytes, and bob is served', async () => {
    const service = await Instance.start('--max-engines-per-user', '1');
    const target = targetOf('alice');
    try {
      const holder = new Attacker('alice');
      await holder.do('open', 10, 0, directoryOf('alice'));
      const opts = { images_dir_fd: 10, pid: target.pid, notify_scripts: true };
      await holder.ask({ type: ReqType.DUMP, opts }, service.address);
      await assertServed('bob', service.address);
      const before = residentKiB(mainPid(service.unit));
      const alice = new Attacker('alice');
      await alice.do('open', 10, 0, directoryOf('alice'));
      const ext_mnt = Array.from({ length: entries }, () => ({ key: '', val: '' }));
      const packet = hex({ type: ReqType.CHECK, opts: { images_dir_fd: 10, ext_mnt } });
      for (let i = 0; i < requests; i += 1) {
        await alice.do('connect', connection + i, service.address);
        await alice.do('sndbuf', connection + i, packet.length);
        await sendOrBeRefused(alice, connection + i, packet);
      }
      let most = 0;
      for (let round = 0; round < 5; round += 1) {
        await assertServed('bob', service.address);
        most = Math.max(most, residentKiB(mainPid(service.unit)) - before);
      }
      console.log(`      ${requests} requests of ${packet.length / 2} bytes: ${most} KiB more`);
      await holder.end();
      await assertServed('bob', service.address);
      assert.ok(most < mostGrowthKiB, `the service has grown by ${most} KiB`);
    } finally {
      await stop(service);
    }
  });
});

/** A service that stops waits for its connected callers. */
async function stop(service: Instance): Promise<void> {
  await endAttackers();
  service.stop();
}

/** The service may have closed the connection, or refuse before the packet was read. */
async function sendOrBeRefused(alice: Attacker, fd: number, packet: string): Promise<void> {
  try {
    await alice.do('send', fd, packet);
  } catch (error) {
    if (!(error instanceof AttackFailed)) throw error;
  }
}
