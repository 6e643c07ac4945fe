/**
 * Whatever alice asks for, and however it ends, what is ended afterwards is what came out of her engine. She has sandboxes,
 * containers and programs that hold the same capability, in their own user namespace or by root's leave; each test of this suite
 * looks for them (test/system/support/it.ts), and these do so kind by kind.
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

/** A request of hers that needs an engine, and nothing else. */
async function check(): Promise<void> {
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  // What this machine can do is not the question.
  assert.notEqual(
    await alice.ask({ type: ReqType.CHECK, opts: { images_dir_fd: 10 } }, ourAddress),
    'closed',
  );
  await alice.end();
}

/** Has the service at rest: what it does after a request is done. */
async function rest(): Promise<void> {
  // Whatever a sweep begins with, a second request has its own after it.
  await check();
  await allWait();
}

describe('a process that has nothing to do with an engine of alice’s', () => {
  for (const kind of bystanderKinds) {
    it(`lives on after a CHECK of hers when it is one ${kind.what}`, async () => {
      await check();
      await rest();
      assert.equal(harmDoneTo(kind), undefined);
    });
  }
});

describe('processes that have nothing to do with an engine of alice’s', () => {
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
