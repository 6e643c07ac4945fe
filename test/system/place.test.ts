/** The place of engines and restored trees: in the unit of their caller, under its limits, ended with it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineCgroup } from '../../src/engine/engine-cgroup.ts';
import { ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { assertRefused, it } from '../hostile/support/guarantee.ts';
import {
  AlicesImages,
  assertNeverRan,
  notifiedOf,
  restoreUntil,
  unshackled,
  waitForReply,
} from '../hostile/support/images.ts';
import { as, directoryOf, targetOf } from '../hostile/support/people.ts';
import { cgroupFile, isThere, startManager, stopManager, Unit } from '../hostile/support/units.ts';
import { cannotShowHere, eventually, run, script } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { engines } from './support/it.ts';
import { cursor, records } from './support/journal.ts';
import { cgroupOf, endProcess, isAlive } from './support/proc.ts';

/** The parts of alice's restore of which her client can tell. */
const phases = ['pre-restore', 'post-restore', 'pre-resume', 'post-resume'] as const;

const kinds = [
  ['a unit of root’s', false],
  ['a unit of her own manager', true],
] as const;

async function assertNothingIsLeft(unit: string, pid: number): Promise<void> {
  await eventually('the tree has ended', () => !isAlive(pid));
  await eventually('the engine has ended', () => engines().length === 0);
  await eventually('the cgroup of the unit is gone', () => !isThere(unit));
}

for (const [what, own] of kinds) {
  describe(`alice in ${what}`, () => {
    let images: AlicesImages;
    before(() => {
      if (own) startManager();
    });
    after(() => {
      if (own) stopManager();
    });
    beforeEach(async () => {
      images = await AlicesImages.make();
    });
    afterEach(() => images.end());

    it('gets an engine and a restored tree in that unit, and a stop of the unit ends the tree', async () => {
      const since = cursor();
      const unit = new Unit(own);
      const { alice, engine } = await restoreUntil(images, 'post-restore', { under: unit.under });
      const { cgroup } = unit;
      const place = cgroupOf(engine);
      assert.match(place, new RegExp(`^${cgroup}/criu-restore-1500-[0-9a-f]+-\\d+$`));
      assert.equal(cgroupOf(images.pid), place);
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      const reply = await waitForReply(alice);
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      await eventually('it runs', () => images.ran);
      assert.equal(cgroupOf(images.pid), place);
      const [restored] = await records(1, `CRIU_RESTORED_PID=${images.pid}`, `--after-cursor=${since}`);
      assert.equal(restored?.CRIU_CGROUP, place);
      unit.stop();
      await assertNothingIsLeft(cgroup, images.pid);
    });

    it('gets an engine in that unit for a dump, and its cgroup is removed', async () => {
      const unit = new Unit(own);
      const target = targetOf('alice');
      const alice = new Attacker('alice', { under: unit.under });
      await alice.do('open', 10, 0, directoryOf('alice'));
      await alice.connect(ourAddress);
      await alice.send({
        type: ReqType.DUMP,
        opts: { images_dir_fd: 10, pid: target.pid, notify_scripts: true, leave_running: true },
      });
      const message = await alice.receive();
      assert.ok(message !== 'closed' && message.type === ReqType.NOTIFY, JSON.stringify(message));
      const place = cgroupOf(engines()[0]!);
      assert.match(place, new RegExp(`^${unit.cgroup}/criu-engine-[0-9a-f]+-\\d+$`));
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      const reply = await waitForReply(alice);
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      await eventually('its cgroup is gone', () => !isThere(place));
      await target.kill();
      unit.end();
    });

    it('leaves no cgroup when a restored tree has ended by itself', async () => {
      const unit = new Unit(own);
      const alice = new Attacker('alice', { under: unit.under });
      const reply = await images.restore(alice);
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      const place = cgroupOf(images.pid);
      endProcess(images.pid);
      await eventually('its cgroup is gone', () => !isThere(place));
      assert.equal(existsSync(join('/run/criu-service/cgroups', place.split('/').at(-1)!)), false);
      unit.end();
    });

    for (const phase of phases) {
      it(`ends with that unit if it is stopped at ${phase}: engine and tree are gone`, async () => {
        const unit = new Unit(own);
        await notifiedOf(images, phase, { under: unit.under });
        const { cgroup } = unit;
        unit.stop();
        await assertNothingIsLeft(cgroup, images.pid);
        assert.equal(images.ran, phase === 'post-resume');
      });
    }
  });
}

describe('the limits of a unit in which alice restores', () => {
  let unit: Unit;
  let pid: number;
  let directory: string;

  /** Restores limited.py in a unit with this property. */
  async function restoreUnder(...properties: string[]): Promise<void> {
    directory = directoryOf('alice');
    const [file, ...argv] = [...as('alice', ...unshackled()), 'python3', script('limited.py'), directory];
    pid = Number(run(file!, ...argv));
    const images = await AlicesImages.of(pid);
    unit = new Unit(false, ...properties);
    const alice = new Attacker('alice', { under: unit.under });
    const reply = await images.restore(alice);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
  }

  /** What the restored process says about an order; undefined if it ended over it. */
  async function said(order: string): Promise<string | undefined> {
    const file = join(directory, `${order}.said`);
    writeFileSync(join(directory, order), '');
    await eventually('it has carried out the order', () => existsSync(file) || !isAlive(pid));
    const text = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
    rmSync(file, { force: true });
    return text;
  }

  /** Whether a child of the unit is limited, as the oracle for a restored tree. */
  function isLimited(test: Mocha.Context, file: string): void {
    if (cgroupFile(unit.cgroup, file) === undefined)
      cannotShowHere(test, `the kernel has no ${file} in the unified hierarchy here`);
  }

  async function stopAndLook(): Promise<void> {
    const { cgroup } = unit;
    unit.stop();
    await assertNothingIsLeft(cgroup, pid);
  }

  it('MemoryMax= ends a tree that allocates more', async function () {
    await restoreUnder('MemoryMax=100M', 'MemorySwapMax=0');
    isLimited(this, 'memory.max');
    assert.equal(await said('allocate'), undefined);
    assert.equal(isAlive(pid), false);
    unit.end();
  });

  it('TasksMax= keeps a tree from forking', async function () {
    await restoreUnder('TasksMax=20');
    isLimited(this, 'pids.max');
    assert.equal(await said('fork'), 'errno 11');
    await stopAndLook();
  });

  it('TasksMax= leaves no room for an engine: the request fails with that sentence, and nothing is restored', async function () {
    const images = await AlicesImages.make();
    pid = images.pid;
    unit = new Unit(false, 'TasksMax=1');
    const alice = new Attacker('alice', { under: unit.under });
    await alice.do('pid');
    isLimited(this, 'pids.max');
    assertRefused(await images.restore(alice), /may have no further process \(TasksMax=\)/);
    await assertNeverRan(images);
    unit.end();
  });

  it('a unit that may have no more cgroups gets a refusal that says so, and the target runs on', async () => {
    unit = new Unit(false);
    const target = targetOf('alice');
    const alice = new Attacker('alice', { under: unit.under });
    await alice.do('open', 10, 0, directoryOf('alice'));
    writeFileSync(`/sys/fs/cgroup${unit.cgroup}/cgroup.max.descendants`, '0');
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: target.pid } });
    assertRefused(
      await waitForReply(alice),
      /cgroup\.max\.descendants or cgroup\.max\.depth there, or above/,
    );
    assert.equal(isAlive(target.pid), true);
    await target.kill();
    unit.end();
  });

  it('IPAddressDeny= keeps a tree from sending', async function () {
    await restoreUnder('IPAddressDeny=any');
    const inside = run(
      ...([
        'systemd-run',
        '--wait',
        '--pipe',
        '--quiet',
        '-p',
        'IPAddressDeny=any',
        'python3',
        '-c',
        oracle,
      ] as const),
    );
    if (inside.trim() === 'sent') cannotShowHere(this, 'systemd attaches no filter for addresses here');
    assert.equal(await said('send'), 'errno 1');
    await stopAndLook();
  });

  it('DeviceAllow= keeps a tree from opening other devices', async function () {
    await restoreUnder('DevicePolicy=strict', 'DeviceAllow=/dev/null rw');
    const strict = ['-p', 'DevicePolicy=strict', '-p', 'DeviceAllow=/dev/null rw'];
    const status = run(
      'systemd-run',
      '--wait',
      '--pipe',
      '--quiet',
      ...strict,
      'sh',
      '-c',
      'head -c0 /dev/full 2>/dev/null && echo opened || echo refused',
    );
    if (status.trim() === 'opened') cannotShowHere(this, 'systemd attaches no filter for devices here');
    assert.equal(await said('device'), 'errno 1');
    await stopAndLook();
  });

  it('AllowedCPUs= and CPUQuota= hold for a tree', async function () {
    await restoreUnder('AllowedCPUs=0', 'CPUQuota=50%');
    isLimited(this, 'cpu.max');
    assert.equal(cgroupFile(unit.cgroup, 'cpu.max')?.trim(), '50000 100000');
    assert.ok(cgroupOf(pid).startsWith(`${unit.cgroup}/`));
    assert.equal(await said('processors'), '0');
    await stopAndLook();
  });
});

const oracle = `
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
    print("sent")
except OSError as error:
    print("errno", error.errno)
`;

describe('a cgroup of the service’s in a unit', () => {
  const unit = `/system.slice/place-${process.pid}-ends`;
  const owner = { uid: 1500, mayHold: false };
  before(() => mkdirSync(`/sys/fs/cgroup${unit}`));
  after(() => rmdirSync(`/sys/fs/cgroup${unit}`));

  it('is left to systemd, which removes the unit, once the unit has no process, and goes at once before that', async () => {
    const process = spawn('sleep', ['infinity']);
    writeFileSync(`/sys/fs/cgroup${unit}/cgroup.procs`, String(process.pid));
    const early = EngineCgroup.within(unit, 'engine', owner);
    early.remove();
    assert.equal(isThere(early.path), false);
    const late = EngineCgroup.within(unit, 'engine', owner);
    endProcess(process.pid!);
    await eventually('the unit has no process', () =>
      /^populated 0$/m.test(cgroupFile(unit, 'cgroup.events')!),
    );
    late.remove();
    assert.equal(isThere(late.path), true);
    // This unit is none of systemd's.
    await eventually('it has been removed', () => !isThere(late.path));
  });
});
