/**
 * systemd moves a user's process to that user's own units on request (AttachProcessesToUnit): out of the scope of a restore,
 * where a cgroup.kill of the scope cannot reach it.
 */
import assert from 'node:assert/strict';
import { readFileSync, symlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually, run } from '../system/support/bench.ts';
import { engines } from '../system/support/it.ts';
import { cgroupOf, isAlive, isFree, statusLine } from '../system/support/proc.ts';
import { mainPid, show } from '../system/support/unit.ts';
import { connection, hex } from './support/attacker.ts';
import { assertRefused, it } from './support/guarantee.ts';
import {
  AlicesImages,
  assertNeverRan,
  checkpointRestore,
  checkpointRestoreBit,
  restoreUntil,
  waitForReply,
} from './support/images.ts';
import { as } from './support/people.ts';

const { SIGKILL } = constants.signals;
const { ESRCH } = constants.errno;

/** Attempts at a race that alice may lose. */
const rounds = 5;

function hideout(): string {
  return `${show('user@1500.service', 'ControlGroup').ControlGroup}/hideout`;
}

/** Whether the cgroup holds a process: a reading of its list may miss a process that forks and exits. */
function isPopulated(cgroup: string): boolean {
  try {
    return readFileSync(`/sys/fs/cgroup${cgroup}/cgroup.events`, 'latin1').includes('populated 1');
  } catch {
    // The cgroup is gone.
    return false;
  }
}

function startManager(): void {
  run('systemctl', 'start', 'user@1500.service');
  // alice may make it: the cgroup of her manager is delegated to her.
  const [file, ...argv] = as('alice');
  run(file!, ...argv, 'mkdir', `/sys/fs/cgroup${hideout()}`);
}

function stopManager(): void {
  run('systemctl', 'stop', 'user@1500.service');
}

/** Has systemd move a process of alice's into a cgroup below her own manager's. */
function moveAway(pid: number): void {
  const [file, ...argv] = as('alice');
  const manager = [
    'org.freedesktop.systemd1',
    '/org/freedesktop/systemd1',
    'org.freedesktop.systemd1.Manager',
  ];
  const call = ['AttachProcessesToUnit', 'ssau', 'user@1500.service', '/hideout', '1', String(pid)];
  run(file!, ...argv, 'busctl', 'call', ...manager, ...call);
  // The bite: the process has left the scope, so that facts about the scope no longer hold for it.
  assert.match(readFileSync(`/proc/${pid}/cgroup`, 'utf8'), /^0::.*user@1500\.service\/hideout$/m);
}

describe('a process that alice moved out of the scope of her restore', () => {
  let images: AlicesImages;

  before(startManager);
  after(stopManager);
  beforeEach(async () => {
    images = await AlicesImages.make();
    await images.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore });
  });
  afterEach(() => images.end());

  it('never runs if it is the tree', async () => {
    const { alice } = await restoreUntil(images, 'post-restore');
    moveAway(images.pid);
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    assertRefused(await alice.receive(), /RESTORE refused/);
    await eventually('the tree is gone', () => isFree(images.pid) && engines().length === 0);
    assert.equal(images.ran, false);
  });

  it('never runs if it is the tree, and she kills the engine', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore');
    moveAway(images.pid);
    await alice.do('kill', engine, 9);
    await eventually('the tree is gone', () => isFree(images.pid) && engines().length === 0);
    assert.equal(images.ran, false);
  });

  it('never runs if it is the tree, and she leaves', async () => {
    const { alice } = await restoreUntil(images, 'post-restore');
    moveAway(images.pid);
    await alice.end();
    await eventually('the tree is gone', () => isFree(images.pid) && engines().length === 0);
    assert.equal(images.ran, false);
  });

  it('is ended if it is the engine, and the tree never runs', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore');
    moveAway(engine);
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    assertRefused(await alice.receive(), /./);
    await eventually('the tree is gone', () => isFree(images.pid) && engines().length === 0);
    assert.equal(images.ran, false);
  });

  it('is ended if it is the engine, and she leaves; the tree never runs', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore');
    moveAway(engine);
    await alice.end();
    await eventually('the tree is gone', () => isFree(images.pid) && engines().length === 0);
    assert.equal(images.ran, false);
  });

  it('never runs if the service is killed meanwhile, and she has left before the restart', async () => {
    const { alice } = await restoreUntil(images, 'post-restore');
    moveAway(images.pid);
    const service = mainPid();
    process.kill(service, 'SIGSTOP');
    await alice.end();
    process.kill(service, 'SIGKILL');
    await eventually('it is back', () => mainPid() > 0 && mainPid() !== service);
    await assertNeverRan(images);
  });

  // alice reads the log of her restore to find the moment. A process that forks and exits all the time escapes lists of /proc,
  // but the kernel counts the processes of a cgroup.
  for (const [moved, alsoTree] of [
    ['the engine', false],
    ['the engine and the tree', true],
  ] as const) {
    it(`is ended if it is ${moved}, and she kills the engine just before the tree is verified`, async () => {
      for (let round = 0; round < rounds; round += 1) {
        const comet = await AlicesImages.make('comet');
        try {
          await comet.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore });
          const { alice, engine } = await restoreUntil(comet, 'post-restore');
          const scope = cgroupOf(comet.pid);
          moveAway(engine);
          if (alsoTree) moveAway(comet.pid);
          const yes = hex({ type: ReqType.NOTIFY, notify_success: true });
          const log = join(comet.directory, 'restore.log');
          // If the service finds the engine elsewhere, it ends the engine before she can.
          await alice
            .rush(`send ${connection} ${yes}`, `kill-at ${log} pre-resume ${engine} ${SIGKILL}`)
            .catch((error) => assert.match((error as Error).message, new RegExp(`error ${ESRCH}$`)));
          await alice.end();
          await eventually(
            `what came out of the engine is gone (round ${round})`,
            () => engines().length === 0 && !isPopulated(scope) && !isPopulated(hideout()),
          );
        } finally {
          await comet.end();
          await eventually('the comet has ended', () => !isPopulated(hideout()));
        }
      }
    });
  }
});

describe('a tree that alice moved out of its frozen scope after it was verified', () => {
  let images: AlicesImages;
  before(startManager);
  after(stopManager);
  beforeEach(async () => {
    images = await AlicesImages.make('stopping');
  });
  afterEach(() => images.end());

  const mayBeTaken = (engine: number): boolean =>
    isAlive(engine) && (BigInt(`0x${statusLine(engine, 'CapPrm') ?? '0'}`) & checkpointRestoreBit) !== 0n;

  it('is ended if its frozen scope is empty when it is to run, and its restore is refused', async () => {
    const { alice } = await restoreUntil(images, 'pre-resume');
    moveAway(images.pid);
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    assertRefused(await waitForReply(alice), /cannot be verified|not in its scope any more/);
    await eventually('it has ended', () => isFree(images.pid));
    await alice.end();
  });

  // The bite: systemd moves it to a cgroup that is not frozen, and as soon as it runs it stops its engine.
  it('never runs beside an engine that holds the capability', async () => {
    const { alice, engine } = await restoreUntil(images, 'pre-resume');
    moveAway(images.pid);
    symlinkSync(String(engine), `${images.trace}.aim`);
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    await eventually('it runs', () => images.ran);
    try {
      assert.equal(mayBeTaken(engine), false, 'it runs beside an engine that holds the capability');
    } finally {
      await alice.end();
      await images.end();
      if (isAlive(engine)) process.kill(engine, 'SIGCONT');
    }
    await eventually('the engine has gone', () => engines().length === 0);
  });
});
