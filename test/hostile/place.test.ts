/**
 * alice tries to bring an engine, or what it restores, out of the unit in which she asks, or to get hold of it in a unit of her own,
 * whose cgroups are hers.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually, run, succeeds } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { engines } from '../system/support/it.ts';
import { journal } from '../system/support/journal.ts';
import { cgroupOf, isAlive } from '../system/support/proc.ts';
import { mainPid } from '../system/support/unit.ts';
import { Attacker, AttackFailed, connection, hex } from './support/attacker.ts';
import { assertRefused, it } from './support/guarantee.ts';
import { AlicesImages, assertNeverRan, notifiedOf, restoreUntil, waitForReply } from './support/images.ts';
import { as } from './support/people.ts';
import { cgroupFile, isThere, startManager, stopManager, Unit } from './support/units.ts';

const { EACCES } = constants.errno;
const rounds = 10;

/** Text for the verb `write`. */
const inHex = (text: string): string => Buffer.from(text).toString('hex');

const failedFor = (pid: number): string[] => ['CRIU_RESULT=failed', `CRIU_CALLER_PID=${pid}`];

/** A cgroup of alice's beside that of her unit. */
function hideoutBeside(unit: Unit): string {
  const path = `${unit.cgroup.slice(0, unit.cgroup.lastIndexOf('/'))}/hideout-${unit.name}`;
  const [file, ...argv] = as('alice');
  run(file!, ...argv, 'mkdir', '-p', `/sys/fs/cgroup${path}`);
  return path;
}

const into = (cgroup: string, pid: number): [string, string, string] => [
  'write',
  `/sys/fs/cgroup${cgroup}/cgroup.procs`,
  inHex(String(pid)),
];

describe('a delegated unit of alice’s in which she restores', () => {
  let images: AlicesImages;
  let unit: Unit;
  before(startManager);
  after(stopManager);
  beforeEach(async () => {
    images = await AlicesImages.make();
    unit = new Unit(true);
  });
  afterEach(async () => {
    await images.end();
    unit.end();
  });

  it('gives her no write access to the cgroup of the engine', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore', { under: unit.under });
    const place = cgroupOf(engine);
    for (const [file, text] of [
      ['cgroup.freeze', '0'],
      ['cgroup.kill', '1'],
      ['cgroup.procs', '0'],
      ['cgroup.type', 'threaded'],
      ['cgroup.subtree_control', '+pids'],
    ] as const) {
      await assert.rejects(
        alice.do('write', `/sys/fs/cgroup${place}/${file}`, inHex(text)),
        (error) => error instanceof AttackFailed && error.errno === EACCES,
        file,
      );
    }
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    const reply = await waitForReply(alice);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
  });

  for (const [what, who] of [
    ['the tree', 'tree'],
    ['the engine', 'engine'],
    ['both', 'both'],
  ] as const) {
    it(`lets her move ${what} to another cgroup of hers, and then nothing that was restored runs`, async () => {
      const { alice, engine } = await restoreUntil(images, 'post-restore', { under: unit.under });
      const hideout = hideoutBeside(unit);
      if (who !== 'engine') await alice.do(...into(hideout, images.pid));
      if (who !== 'tree') await alice.do(...into(hideout, engine));
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      assertRefused(await waitForReply(alice), /RESTORE/);
      await assertNeverRan(images);
    });
  }

  it('runs nothing if she puts a cgroup of hers in the place of that of the engine', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore', { under: unit.under });
    const place = cgroupOf(engine);
    const hideout = hideoutBeside(unit);
    for (const pid of [engine, images.pid]) await alice.do(...into(hideout, pid));
    const [file, ...argv] = as('alice');
    await eventually('its place is removed', () =>
      succeeds(file!, ...argv, 'rmdir', `/sys/fs/cgroup${place}`),
    );
    run(file!, ...argv, 'mkdir', `/sys/fs/cgroup${place}`);
    for (const pid of [engine, images.pid]) await alice.do(...into(place, pid));
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    assertRefused(await waitForReply(alice), /RESTORE/);
    await assertNeverRan(images);
  });

  it('runs nothing if a cgroup of hers has the name that the engine’s is to have when the tree is verified', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore', { under: unit.under });
    const [file, ...argv] = as('alice');
    run(file!, ...argv, 'mkdir', `/sys/fs/cgroup${cgroupOf(engine).replace(/([^/]+)$/, 'criu-apart-$1')}`);
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    assertRefused(await waitForReply(alice), /RESTORE/);
    await assertNeverRan(images);
  });

  it('delays nobody else while she has frozen it', async () => {
    const alice = new Attacker('alice', { under: unit.under });
    await alice.do('open', 10, 0, images.directory);
    await alice.connect(ourAddress);
    const { cgroup } = unit;
    await eventually('the service runs', () => mainPid() > 0);
    const service = mainPid();
    // She freezes with her request on its way, which the service gets no sooner, and answers no more.
    process.kill(service, 'SIGSTOP');
    try {
      alice
        .rush(
          `send ${connection} ${hex(images.request)}`,
          `write /sys/fs/cgroup${cgroup}/cgroup.freeze ${inHex('1')}`,
        )
        .catch(() => {});
      await eventually('her unit is frozen', () => cgroupFile(cgroup, 'cgroup.freeze')?.trim() === '1');
    } finally {
      process.kill(service, 'SIGCONT');
    }
    const bob = await AlicesImages.make();
    try {
      const reply = await bob.restore();
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    } finally {
      await bob.end();
    }
    // The launcher is given up after its deadline, and the service lives on.
    await eventually('the launcher is given up', () => journal(...failedFor(alice.pid)).length > 0);
    assert.equal(mainPid(), service);
    writeFileSync(`/sys/fs/cgroup${cgroup}/cgroup.freeze`, '0');
    unit.end();
    await eventually('no engine is left', () => engines().length === 0);
  });

  it('leads an engine only to places where she was, if she moves herself while she asks', async () => {
    for (let round = 0; round < rounds; round += 1) {
      const each = new Unit(true);
      const alice = new Attacker('alice', { under: each.under });
      await alice.do('open', 10, 0, images.directory);
      await alice.connect(ourAddress);
      const places = [each.cgroup, hideoutBeside(each)];
      const { type, opts } = images.request;
      await alice.rush(
        `send ${connection} ${hex({ type, opts: { ...opts, notify_scripts: true } })}`,
        into(places[1]!, alice.pid).join(' '),
      );
      const message = await alice.receive();
      assert.ok(message !== 'closed');
      if (message.type === ReqType.NOTIFY) {
        const place = cgroupOf(engines()[0]!);
        assert.ok(places.includes(place.slice(0, place.lastIndexOf('/'))), place);
        await alice.end();
        await eventually('the engine has gone', () => engines().length === 0);
      } else
        assertRefused(
          message,
          /moved to another cgroup|its cgroup .* has gone|unit of the calling process has ended/,
        );
      each.end();
    }
  });
});

describe('a service that is killed while alice restores in a unit', () => {
  for (const own of [false, true]) {
    for (const phase of ['pre-restore', 'post-restore', 'pre-resume', 'post-resume'] as const) {
      it(`goes on at ${phase}, in ${own ? 'her own unit' : 'a unit of root’s'}, and the unit ends what was restored`, async () => {
        if (own) startManager();
        const images = await AlicesImages.make();
        const unit = new Unit(own);
        try {
          const alice = await notifiedOf(images, phase, { under: unit.under });
          const { cgroup } = unit;
          const service = mainPid();
          process.kill(service, 'SIGKILL');
          await eventually('it is back', () => mainPid() > 0 && mainPid() !== service);
          await alice.send({ type: ReqType.NOTIFY, notify_success: true });
          const reply = await waitForReply(alice);
          assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
          await eventually('it runs', () => images.ran);
          assert.ok(cgroupOf(images.pid).startsWith(`${cgroup}/criu-restore-`));
          assert.equal(cgroupFile(cgroupOf(images.pid), 'cgroup.freeze')?.trim(), '0');
          unit.stop();
          await eventually('the tree has ended', () => !isAlive(images.pid));
          await eventually('the engine has ended', () => engines().length === 0);
          await eventually('the cgroup of the unit is gone', () => !isThere(cgroup));
        } finally {
          await images.end();
          if (own) stopManager();
        }
      });

      it(`leaves nothing at ${phase}, in ${own ? 'her own unit' : 'a unit of root’s'}, if that unit is stopped before it is back`, async () => {
        if (own) startManager();
        const images = await AlicesImages.make();
        const unit = new Unit(own);
        try {
          await notifiedOf(images, phase, { under: unit.under });
          const { cgroup } = unit;
          const service = mainPid();
          process.kill(service, 'SIGSTOP');
          // What is frozen ends later, with the service's help or by systemd's second signal.
          unit.stop('--no-block');
          process.kill(service, 'SIGKILL');
          await eventually('it is back', () => mainPid() > 0 && mainPid() !== service);
          await eventually('the tree has ended', () => !isAlive(images.pid));
          await eventually('the engine has ended', () => engines().length === 0);
          await eventually('the cgroup of the unit is gone', () => !isThere(cgroup));
        } finally {
          await images.end();
          if (own) stopManager();
        }
      });
    }
  }
});
