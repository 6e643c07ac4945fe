/**
 * The clocks of alice's restored processes come from a file that she writes, and a target's time namespace is its own. The launcher
 * that reads the one and enters the other is root's in the beginning.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { binary, cannotShowHere, eventually, run } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { clocksImage, monotonicOffsetOf, timeNamespaceOf } from '../system/support/clocks.ts';
import { criuctlAs, type Ended, failed, must } from '../system/support/criuctl.ts';
import { endProcess, processesNamed } from '../system/support/proc.ts';
import { Target } from '../system/support/targets.ts';
import { mainPid } from '../system/support/unit.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, assertServed, it } from './support/guarantee.ts';
import { AlicesImages, assertNeverRan, unshackled } from './support/images.ts';
import { LyingEngine } from './support/lying-engine.ts';
import { as, directoryOf, RootsFile, targetOf, type User } from './support/people.ts';
import { needsFuse, SilentMount } from './support/silent-mount.ts';

const latest = 9_223_372_036n / 2n;

const clocksOf = (images: AlicesImages): string => join(images.directory, 'timens-0.img');

/** alice with a capability that her children hold, too: only so can she choose a time namespace. */
function withSysAdmin(...options: string[]): string[] {
  const capable = ['--inh-caps=-all,+sys_admin', '--ambient-caps=+sys_admin'];
  const plain = as('alice', ...options).filter((word) => word !== '--inh-caps=-all' && word !== '--');
  return [...plain, ...capable, '--'];
}

describe('the clocks in images that alice writes', () => {
  for (const [what, content, sentence] of [
    ['without content', Buffer.alloc(0), /timens-0\.img is damaged: it ends after 0 bytes/],
    ['of noise', Buffer.alloc(64, 0xa5), /timens-0\.img is damaged: it does not begin as CRIU begins it/],
    ['that are cut off', clocksImage([5n, 5n]).subarray(0, -1), /timens-0\.img is damaged: it announces/],
    [
      'before zero',
      clocksImage([-5n, 0n]),
      /timens-0\.img has a monotonic clock of -5 seconds, which is before zero/,
    ],
    ['before zero on one clock', clocksImage([5n, 0n], [-1n, 0n]), /has a boottime clock of -1 seconds/],
    ['that the kernel cannot count from', clocksImage([latest, 0n]), /beyond what the kernel can count from/],
    [
      'with the largest of numbers',
      clocksImage([2n ** 63n - 1n, 0n]),
      /beyond what the kernel can count from/,
    ],
    [
      'with a second of nanoseconds',
      clocksImage([5n, 1_000_000_000n]),
      /has 1000000000 nanoseconds of a second/,
    ],
  ] as const) {
    it(`are refused with a sentence, and nothing is restored (${what})`, async () => {
      const images = await AlicesImages.make();
      writeFileSync(clocksOf(images), content);
      assertRefused(await images.restore(), sentence);
      await assertNeverRan(images);
      await assertServed('bob');
    });
  }

  it('move the clocks of her own process alone, by as much as the kernel can count', async () => {
    const images = await AlicesImages.make();
    writeFileSync(clocksOf(images), clocksImage([latest - 10n, 0n]));
    const reply = await images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await eventually('it runs', () => images.ran);
    assert.ok(monotonicOffsetOf(images.pid) > 4e9);
    assert.equal(monotonicOffsetOf(mainPid()), 0);
    await images.end();
  });

  for (const [what, replace] of [
    ['a FIFO', (file: string) => run('mkfifo', '--mode=666', file)],
    ['a directory', (file: string) => run('mkdir', file)],
    ['a device', (file: string) => symlinkSync('/dev/zero', file)],
  ] as const) {
    it(`are refused if their file is ${what}, which delays nothing`, async () => {
      const images = await AlicesImages.make();
      rmSync(clocksOf(images));
      replace(clocksOf(images));
      assertRefused(await images.restore(), /timens-0\.img is no regular file/);
      await assertNeverRan(images);
      await assertServed('bob');
    });
  }

  it('are refused if their file is a link to a file that only root may read', async () => {
    const images = await AlicesImages.make();
    const secret = join(directoryOf('root'), 'secret');
    writeFileSync(secret, clocksImage([5n, 0n]), { mode: 0o600 });
    rmSync(clocksOf(images));
    symlinkSync(secret, clocksOf(images));
    assertRefused(await images.restore(), /timens-0\.img\) cannot be read: EACCES/);
    await assertNeverRan(images);
  });

  it('are refused if their file is a link into a process, and tell nothing of a file that is no image', async () => {
    const images = await AlicesImages.make();
    const readable = new RootsFile();
    for (const [to, sentence] of [
      ['/proc/self/exe', /timens-0\.img\) cannot be read: ELOOP/],
      ['/proc/self/fd/1', /timens-0\.img\) cannot be read: ELOOP/],
      ['/proc/self/maps', /timens-0\.img is damaged: it does not begin as CRIU begins it/],
      [readable.path, /timens-0\.img is damaged: it does not begin as CRIU begins it/],
    ] as const) {
      rmSync(clocksOf(images), { force: true });
      symlinkSync(to, clocksOf(images));
      assertRefused(await images.restore(), sentence);
    }
    await assertNeverRan(images);
  });

  it('are refused if their file is huge, without being read as a whole', async () => {
    const images = await AlicesImages.make();
    truncateSync(clocksOf(images), 2 ** 40);
    assertRefused(await images.restore(), /timens-0\.img is damaged: it announces \d+ bytes and has 4084/);
    await assertNeverRan(images);
  });

  it('are refused after 30 seconds if they lie on a file system that never answers, and bob is served meanwhile', async function () {
    needsFuse(this);
    const images = await AlicesImages.make();
    const mount = SilentMount.of('alice');
    try {
      rmSync(clocksOf(images));
      symlinkSync(mount.file, clocksOf(images));
      const answer = images.restore();
      await mount.asked();
      await assertServed('bob');
      assertRefused(await answer, /reading the clocks in the images took longer than 30 s/);
    } finally {
      mount.end();
    }
    await assertNeverRan(images);
  });
});

const share = '/proc/sys/user/max_time_namespaces';

/** The time namespaces in which processes are, whoever made them: trees that earlier tests have left behind, for example. */
function timeNamespacesInUse(): number {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return timeNamespaceOf(Number(pid));
      } catch {
        // The process has ended.
        return undefined;
      }
    });
  return new Set(all.filter((each) => each !== undefined && each !== timeNamespaceOf('self'))).size;
}

// The bite: a launcher that makes the namespace as root uses up the share of root and of all users.
describe('the time namespaces of alice’s restored processes', () => {
  it('count against her share, of which she is told, and root and bob restore theirs', async function () {
    const before = readFileSync(share, 'latin1');
    const most = timeNamespacesInUse() + 2;
    try {
      writeFileSync(share, String(most));
    } catch (error) {
      cannotShowHere(this, `user.max_time_namespaces cannot be set here: ${(error as Error).message}`);
    }
    const holders: ChildProcess[] = [];
    try {
      const [file, ...argv] = as('alice', 'unshare', '--user', '--time', 'sleep', '1000');
      for (let number = 0; number < most; number += 1) holders.push(spawn(file!, argv, { stdio: 'ignore' }));
      await eventually('each of them has a namespace, or found none left', () => {
        const sleepers = new Set(processesNamed('sleep'));
        return holders.every(({ pid, exitCode }) => sleepers.has(pid!) || exitCode !== null);
      });
      const dumpAndRestore = (user: User): Ended => {
        const target = targetOf(user);
        const images = directoryOf(user);
        must(criuctlAs(user, 'dump', String(target.pid), '-D', images));
        return criuctlAs(user, 'restore', '-D', images);
      };
      failed(
        dumpAndRestore('alice'),
        1,
        /as many time namespaces as user\.max_time_namespaces \(sysctl\) allows/,
      );
      must(dumpAndRestore('bob'));
      must(dumpAndRestore('root'));
    } finally {
      for (const holder of holders) holder.kill('SIGKILL');
      writeFileSync(share, before);
    }
  });
});

// The bite: without the comparison of `time` and `time_for_children` the tree runs.
describe('an engine that restores into another time namespace than its own', () => {
  it('has no tree of its making run, whatever capabilities its caller has', async () => {
    const engine = await LyingEngine.start();
    try {
      const trace = join(directoryOf('alice', 0o777), 'trace');
      const say = { send: { type: ReqType.NOTIFY, success: true, notify: { script: 'pre-resume', pid: 1 } } };
      const done = { send: { type: ReqType.RESTORE, success: true, restore: { pid: 1 } } };
      for (const [steps, served] of [
        [[{ hold: trace }], true],
        [['leave-time', { hold: trace }], false],
      ] as const) {
        rmSync(trace, { force: true });
        engine.says('receive', ...steps, say, 'receive', 'let-go', done);
        const alice = new Attacker('alice', { under: withSysAdmin() });
        await alice.do('open', 10, 0, directoryOf('alice'));
        const reply = await alice.ask(
          { type: ReqType.RESTORE, opts: { images_dir_fd: 10 } },
          engine.service.address,
        );
        await alice.end();
        if (served) {
          assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
          await eventually('it runs', () => existsSync(trace));
        } else {
          assertRefused(reply, /is in another time(_for_children)? namespace/);
          assert.equal(existsSync(trace), false);
        }
      }
    } finally {
      engine.service.stop();
      for (const pid of processesNamed('liar')) endProcess(pid);
    }
  });
});

describe('a target of alice’s that moves between time namespaces while it is dumped', () => {
  it('is dumped as it was at a moment, or runs on after a failure', async () => {
    const [program, ...argv] = [...withSysAdmin(...unshackled()), binary('targets'), 'timeless'];
    const file = join(directoryOf('alice'), 'count');
    const target = new Target(Number(run(program!, ...argv, file)), file);
    const alice = new Attacker('alice', { under: withSysAdmin() });
    for (let round = 0; round < 30; round += 1) {
      await alice.do('open', 10, 0, directoryOf('alice'));
      const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true };
      const reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
      assert.ok(reply !== 'closed', 'there was no reply');
      await target.assertCountsOn();
    }
    await alice.end();
    await assertServed('bob');
  });
});
