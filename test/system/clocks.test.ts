/** The clocks of restored processes: a program that waits for a moment of its clock goes on, whatever the machine's clock says. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User } from '../hostile/support/people.ts';
import { binary, eventually, inVm, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import {
  ahead,
  aheadOfUs,
  monotonicOffsetOf,
  startWaiting,
  timeNamespaceOf,
  waits,
} from './support/clocks.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { Instance } from './support/instance.ts';
import { it } from './support/it.ts';
import { records } from './support/journal.ts';
import { childrenOf, endProcess, isFree, statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

async function dump(user: User, target: Target, images: string): Promise<void> {
  must(criuctlAs(user, 'dump', String(target.pid), '-D', images));
  await target.assertGone();
}

async function restore(user: User, target: Target, images: string): Promise<void> {
  const stoppedAt = target.count;
  must(criuctlAs(user, 'restore', '-D', images, ...(user === 'root' ? ['--trust-images'] : [])));
  await target.assertCountsOn();
  assert.ok(target.count > stoppedAt);
  assertIsAhead(target);
}

/** The clocks stand still between dump and restore, for less time than these tests have. */
function assertIsAhead({ pid }: Target): void {
  const offset = monotonicOffsetOf(pid);
  assert.ok(offset <= ahead && offset > ahead / 2, String(offset));
}

const someWait = waits['Python’s time.sleep()'];

describe('the clocks of a restored process', () => {
  for (const [name, wait] of Object.entries(waits)) {
    it(`are those of its dump: alice’s program goes on at once, which waits by ${name}`, async () => {
      const target = startWaiting('alice', wait, aheadOfUs);
      await target.assertCountsOn();
      const images = directoryOf('alice');
      await dump('alice', target, images);
      await restore('alice', target, images);
      assert.notEqual(timeNamespaceOf(target.pid), timeNamespaceOf('self'));
    });
  }

  it('are kept by any number of dumps and restores, of alice’s and of root’s in turn', async () => {
    const target = startWaiting('alice', someWait, aheadOfUs);
    for (const [dumps, restores] of [
      ['alice', 'alice'],
      ['alice', 'alice'],
      ['alice', 'root'],
      ['alice', 'alice'],
      // The container's root may not read the limits of other users' processes, which CRIU does for a dump.
      ...(inVm
        ? ([
            ['root', 'root'],
            ['alice', 'alice'],
          ] as const)
        : []),
    ] as const) {
      // Only root restores what root has dumped from a time namespace.
      const images = directoryOf(dumps);
      await dump(dumps, target, images);
      await restore(restores, target, images);
    }
  });

  it('are their own: alice’s two programs have two time namespaces, and a program that was never restored has the machine’s', async () => {
    const targets = [0, 1].map(() => startWaiting('alice', someWait));
    for (const target of targets) {
      assert.equal(timeNamespaceOf(target.pid), timeNamespaceOf('self'));
      const images = directoryOf('alice');
      await dump('alice', target, images);
      must(criuctlAs('alice', 'restore', '-D', images));
      await target.assertCountsOn();
    }
    assert.equal(
      new Set([...targets.map(({ pid }) => timeNamespaceOf(pid)), timeNamespaceOf('self')]).size,
      3,
    );
  });

  it('are those of the caller if the images have none, as images of older versions of CRIU', async () => {
    const target = startWaiting('alice', someWait);
    const images = directoryOf('alice');
    await dump('alice', target, images);
    run('rm', join(images, 'timens-0.img'), join(images, 'manifest.json'));
    must(criuctlAs('alice', 'restore', '-D', images));
    await target.assertCountsOn();
    assert.equal(monotonicOffsetOf(target.pid), 0);
    const [restored] = await records(1, `CRIU_RESTORED_PID=${target.pid}`, 'CRIU_CLOCKS=caller');
    assert.equal(restored?.CRIU_RESULT, 'done');
  });
});

describe('a tree whose processes are in several time namespaces', () => {
  it('is refused with a sentence, and runs on', async () => {
    const capable = ['--inh-caps=-all,+sys_admin', '--ambient-caps=+sys_admin', '--'];
    const capably = (...options: string[]): string[] => [
      ...as('alice', ...options).filter((word) => !/^--(inh-caps.*)?$/.test(word)),
      ...capable,
    ];
    const tree = 'unshare --time sleep 1000 & exec sleep 1001';
    const [file, ...argv] = [...capably(...unshackled()), 'setsid', 'sh', '-c', tree];
    const child = spawn(file!, argv, { stdio: 'ignore', cwd: '/' });
    const pid = child.pid!;
    await eventually('its child is elsewhere', () => {
      const [first] = childrenOf(pid);
      return first !== undefined && timeNamespaceOf(first) !== timeNamespaceOf(pid);
    });
    const [first] = childrenOf(pid);
    try {
      const images = directoryOf('alice');
      const [criuctl, ...rest] = [...capably(), 'criuctl', 'dump', String(pid), '-D', images];
      const ended = spawnSync(criuctl!, rest, { encoding: 'utf8' });
      assert.equal(ended.status, 1, JSON.stringify(ended));
      assert.match(ended.stderr, /nested time namespace/);
      assert.match(ended.stderr, /only if all its processes are in one time namespace/);
      assert.equal(statusLine(pid, 'TracerPid'), '0');
      assert.equal(statusLine(first!, 'TracerPid'), '0');
    } finally {
      for (const each of [pid, first!]) endProcess(each);
      await eventually('they have ended', () => isFree(pid) && isFree(first!));
    }
  });
});

describe('a caller in a time namespace of its own, as a restored shell', () => {
  const inside = (...options: string[]): string[] => [...aheadOfUs, ...as('alice', ...options)];

  it('dumps and restores its programs, inside and outside of that namespace', async () => {
    for (const under of [aheadOfUs, []]) {
      const target = startWaiting('alice', someWait, under);
      const images = directoryOf('alice');
      const asked = async (type: ReqType, pid?: number): Promise<void> => {
        const client = new Client('alice', { under: inside() });
        await client.do('open', 10, 0, images);
        const opts = { images_dir_fd: 10, log_level: 4, log_file: `${type}.log`, ...(pid ? { pid } : {}) };
        const reply = await client.ask({ type, opts }, ourAddress);
        assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
        await client.end();
      };
      await asked(ReqType.DUMP, target.pid);
      await target.assertGone();
      await asked(ReqType.RESTORE);
      await target.assertCountsOn();
      const offset = monotonicOffsetOf(target.pid);
      assert.ok(under.length > 0 ? offset > ahead / 2 : offset <= 0, String(offset));
    }
  });

  it('is answered as everywhere else: a check, the version, the features of CRIU', async () => {
    const [file, ...argv] = [...inside(), 'criuctl'];
    for (const verb of ['check', 'version', 'features']) run(file!, ...argv, verb);
  });

  it('dumps itself through libcriu, is restored, and dumps itself again', async () => {
    const service = inVm ? undefined : await Instance.start('--allow-no-new-privs');
    const address = service?.address ?? ourAddress;
    try {
      const images = directoryOf('alice');
      const [count, result] = ['count', 'result'].map((name) => join(directoryOf('alice'), name));
      const [file, ...argv] = [
        ...inside(...unshackled()),
        binary('self-dump'),
        ...[address, images, result!, count!, 'again'],
      ];
      const target = new Target(Number(run(file!, ...argv)), count!);
      for (const round of ['1', '2']) {
        await target.assertGone();
        const client = new Client('alice', { under: as('alice', ...unshackled()) });
        await client.do('open', 10, 0, join(images, round));
        const opts = { images_dir_fd: 10, log_level: 4, log_file: 'restore.log' };
        const reply = await client.ask({ type: ReqType.RESTORE, opts }, address);
        assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
        await client.end();
        const lines = 'dump 1 errno 0\n'.repeat(Number(round));
        await eventually(
          `it reports ${round} times`,
          () => existsSync(result!) && readFileSync(result!, 'utf8') === lines,
        );
      }
      await target.assertCountsOn();
      assertIsAhead(target);
    } finally {
      service?.stop();
    }
  });
});
