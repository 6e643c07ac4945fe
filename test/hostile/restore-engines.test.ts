/**
 * alice ends, stops or leaves the engine that restores for her, before the restored tree was verified. Her images hold the
 * capability of engines, so nothing of them may ever run.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { ReqType } from '../../src/protocol/messages.ts';
import { cannotShowHere, eventually, inVm } from '../system/support/bench.ts';
import { Instance } from '../system/support/instance.ts';
import { engines } from '../system/support/it.ts';
import { isAlive, statusLine } from '../system/support/proc.ts';
import { Attacker, connection, hex } from './support/attacker.ts';
import { assertRefused, assertServed, it } from './support/guarantee.ts';
import {
  AlicesImages,
  assertNeverRan,
  checkpointRestore,
  notifiedOf,
  restoreUntil,
} from './support/images.ts';
import { as, uids } from './support/people.ts';

const { SIGKILL, SIGSTOP, SIGCONT } = constants.signals;
const RLIMIT_NOFILE = 7;

/** CRIU's notifications before the tree has its credentials and stands still. */
const early = ['pre-restore', 'post-restore'] as const;

describe('an engine that restores the capability of engines for alice', () => {
  let images: AlicesImages;
  beforeEach(async () => {
    images = await AlicesImages.make();
    await images.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore });
  });
  afterEach(() => images.end());

  for (const script of early) {
    it(`leaves nothing that runs if she kills it at ${script}`, async () => {
      const { alice, engine } = await restoreUntil(images, script);
      await alice.do('kill', engine, SIGKILL);
      assertRefused(await alice.receive(), /./);
      await assertNeverRan(images);
    });

    it(`leaves nothing that runs if she kills it right after she has answered ${script}`, async () => {
      const { alice, engine } = await restoreUntil(images, script);
      const yes = hex({ type: ReqType.NOTIFY, notify_success: true });
      await alice.rush(`send ${connection} ${yes}`, `kill ${engine} ${SIGKILL}`);
      await assertNeverRan(images);
    });

    it(`leaves nothing that runs if she leaves right after she has answered ${script}`, async () => {
      const { alice } = await restoreUntil(images, script);
      const yes = hex({ type: ReqType.NOTIFY, notify_success: true });
      await alice.rush(`send ${connection} ${yes}`, `close ${connection}`);
      await assertNeverRan(images);
    });

    it(`leaves nothing that runs if it may have no more descriptors from ${script} on`, async () => {
      const { alice, engine } = await restoreUntil(images, script);
      await alice.do('prlimit', engine, RLIMIT_NOFILE, 0);
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      assertRefused(await alice.receive(), /./);
      await assertNeverRan(images);
    });

    it(`leaves nothing that runs if she leaves at ${script}`, async () => {
      const { alice } = await restoreUntil(images, script);
      await alice.end();
      await assertNeverRan(images);
    });

    // Then the answer is in flight, and next the engine would read the end of its connection.
    it(`leaves nothing that runs if she stops it at ${script}, answers, leaves, and continues it`, async () => {
      const { alice, engine } = await restoreUntil(images, script);
      await alice.do('kill', engine, SIGSTOP);
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      await assertServed('bob');
      await alice.do('close', connection);
      await assertServed('bob');
      if (isAlive(engine)) await alice.do('kill', engine, SIGCONT).catch(() => {});
      await assertNeverRan(images);
    });
  }

  it('is refused at pre-resume, before she is notified', async () => {
    const { alice } = await restoreUntil(images, 'post-restore');
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    assertRefused(await alice.receive(), /capabilities that you do not have/);
    await assertNeverRan(images);
  });

  // The bite of all of these: an engine whose work is not verified, such as CRIU's command line with that capability.
  it('makes a process that holds the capability if its work is not verified', async () => {
    await images.restoreUnguarded('engine');
    await eventually('it runs, and holds it', () => images.ran && images.holdsCapability);
  });
});

describe('an engine that alice kills after her tree was verified', () => {
  it('leaves nothing of the tree, which has not run', async () => {
    const images = await AlicesImages.make();
    try {
      const { alice, engine } = await restoreUntil(images, 'pre-resume');
      await alice.do('kill', engine, SIGKILL);
      await eventually('the engine is gone', () => engines().length === 0);
      await assertNeverRan(images);
    } finally {
      await images.end();
    }
  });
});

describe('a verified tree of alice’s', () => {
  it('runs after its engine has exited, and then alice is notified of post-resume', async () => {
    const images = await AlicesImages.make();
    try {
      const alice = await notifiedOf(images, 'post-resume');
      // Others may be on their way to wait ahead.
      assert.deepEqual(
        engines().filter((pid) => statusLine(pid, 'Uid')?.startsWith(`${uids.alice}\t`)),
        [],
      );
      await eventually('the tree runs', () => images.ran);
      assert.equal(images.holdsCapability, false);
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      const reply = await alice.receive();
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    } finally {
      await images.end();
    }
  });
});

// CRIU installs the filter before it gives the capability up, and ignores that only root can have a filter suspended meanwhile.
describe('an image with a seccomp filter that answers capset with 0', () => {
  let images: AlicesImages;
  const make = async (context: Mocha.Context): Promise<void> => {
    if (!inVm) cannotShowHere(context, 'root lacks CAP_SYS_RESOURCE here, and only root can dump a filter');
    images = await AlicesImages.make('filtered');
  };
  afterEach(() => images?.end());

  it('is never restored, because its engine may not install a filter', async function () {
    await make(this);
    const reply = await images.restoreOrLeave();
    assert.ok(typeof reply !== 'object' || !reply.success, JSON.stringify(reply));
    await assertNeverRan(images);
  });

  it('never becomes a process that kept the capability, with --allow-no-new-privs', async function () {
    await make(this);
    const service = await Instance.start('--allow-no-new-privs');
    try {
      const alice = new Attacker('alice', { under: as('alice', '--no-new-privs') });
      const reply = await images.restoreOrLeave(alice, service.address);
      assert.ok(typeof reply === 'object');
      assertRefused(reply, /capabilities that you do not have/);
      await assertNeverRan(images);
    } finally {
      service.stop();
    }
    await images.restoreUnguarded('engine', '--no-new-privs');
    await eventually('it runs', () => images.ran);
    assert.equal(images.holdsCapability, true, 'the attack does not bite');
  });
});

describe('a caller with no_new_privs, under --allow-no-new-privs', () => {
  it('cannot restore a process without no_new_privs', async () => {
    const service = await Instance.start('--allow-no-new-privs');
    const images = await AlicesImages.make();
    try {
      await images.editCredentials({ no_new_privs: 0 });
      const alice = new Attacker('alice', { under: as('alice', '--no-new-privs') });
      const reply = await images.restoreOrLeave(alice, service.address);
      // The engine has no_new_privs, which cannot be given up, so that the process has it, whatever the image says.
      if (typeof reply === 'object' && reply.success) assert.equal(statusLine(images.pid, 'NoNewPrivs'), '1');
      else await assertNeverRan(images);
    } finally {
      await images.end();
      service.stop();
    }
  });
});
