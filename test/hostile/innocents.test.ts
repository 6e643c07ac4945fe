/**
 * After a request of alice's, however it ends, the service ends only processes that came out of her engine. Her sandboxes, her
 * containers and her programs that hold the same capability (in their own user namespace, or by root's leave) live on. Each test
 * of this suite checks them (test/system/support/it.ts); the tests here do so kind by kind.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { ReqType } from '../../src/protocol/messages.ts';
import { run } from '../system/support/bench.ts';
import { bystanderKinds, harmDoneTo } from '../system/support/bystanders.ts';
import { ask, ourAddress } from '../system/support/client.ts';
import { allWait } from '../system/support/it.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, it } from './support/guarantee.ts';
import { AlicesImages, assertNeverRan, checkpointRestore, restoreUntil } from './support/images.ts';
import { directoryOf } from './support/people.ts';

/** A request of hers that needs an engine and does nothing else. */
async function check(): Promise<void> {
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  // The test does not depend on the result of CHECK on this machine.
  assert.notEqual(
    await alice.ask({ type: ReqType.CHECK, opts: { images_dir_fd: 10 } }, ourAddress),
    'closed',
  );
  await alice.end();
}

/** Waits until the service has finished all work after a request. */
async function rest(): Promise<void> {
  // The sweep after a second request begins later than the sweep after the first.
  await check();
  await allWait();
}

describe('a process unrelated to alice’s engines', () => {
  for (const kind of bystanderKinds) {
    it(`lives on after a CHECK of hers (a process ${kind.what})`, async () => {
      await check();
      await rest();
      assert.equal(harmDoneTo(kind), undefined);
    });
  }
});

describe('processes unrelated to alice’s engines', () => {
  let images: AlicesImages;
  beforeEach(async () => {
    images = await AlicesImages.make();
    await images.editCredentials({ cap_prm: checkpointRestore, cap_eff: checkpointRestore });
  });
  afterEach(() => images.end());

  const assertUnharmed = (): void => {
    for (const kind of bystanderKinds) assert.equal(harmDoneTo(kind), undefined, kind.what);
  };

  it('live on after a restore of hers that was refused', async () => {
    assertRefused(await images.restore(), /capabilities that you do not have/);
    await assertNeverRan(images);
    await rest();
    assertUnharmed();
  });

  it('live on after a restore of hers whose engine she killed', async () => {
    const { alice, engine } = await restoreUntil(images, 'post-restore');
    await alice.do('kill', engine, constants.signals.SIGKILL);
    await assertNeverRan(images);
    await rest();
    assertUnharmed();
  });

  it('live on when the service starts', async () => {
    run('systemctl', 'restart', 'criu.service');
    await ask({ type: ReqType.VERSION });
    await rest();
    assertUnharmed();
  });
});
