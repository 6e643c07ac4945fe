/** Tests the launcher that is born in a cgroup, against the kernel. */
import { strict as assert } from 'node:assert';
import { existsSync, constants as flags, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { ownCgroup, unifiedMount } from '../../src/engine/our-cgroups.ts';
import { native, type OwnedFd } from '../../src/native/binding.ts';
import { launchAs, requireFailure, TestCaller, Workshop } from './launcher/support.ts';
import { cannotShow } from './support.ts';

const uid = 700_000 + (process.pid % 100_000);
const path = join(ownCgroup(), `criu-birth-test-${process.pid}`);

describe('a launcher that is born in a cgroup', () => {
  const directory = join(unifiedMount(), path);
  let workshop: Workshop;
  let launcher: string;
  let caller: TestCaller;
  let cgroup: OwnedFd;

  before(function () {
    if (process.getuid?.() !== 0) cannotShow(this, 'only root starts launchers');
    workshop = new Workshop();
    launcher = workshop.plainLauncher();
  });
  after(() => workshop?.remove());

  beforeEach(async function () {
    try {
      mkdirSync(directory);
    } catch (error) {
      cannotShow(this, `no cgroup can be made here (${(error as Error).message})`);
    }
    cgroup = native.open(directory, flags.O_DIRECTORY);
    caller = await TestCaller.start(workshop, [`uid=${uid}`, `gid=${uid}`]);
  });
  afterEach(async () => {
    cgroup?.close();
    caller?.close();
    await caller?.end();
    while (existsSync(directory)) {
      try {
        rmdirSync(directory);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
  });

  it('becomes the engine there, as a child of this process', async () => {
    // It stands still while it is looked at.
    writeFileSync(join(directory, 'cgroup.freeze'), '1');
    let seen = '';
    const result = await launchAs(
      workshop,
      launcher,
      caller,
      {},
      {
        cgroup,
        onAnswer: (answer) => {
          if (answer.kind !== 'born') return;
          seen = readFileSync(`/proc/${answer.pid}/cgroup`, 'latin1');
          assert.equal(native.parentOf(answer.pid), process.pid);
          writeFileSync(join(directory, 'cgroup.freeze'), '0');
        },
      },
    );
    assert.deepEqual(
      result.answers.map(({ kind }) => kind),
      ['born', 'ready'],
    );
    assert.match(seen, new RegExp(`^0::${path}$`, 'm'));
    assert.deepEqual(result.exit, { kind: 'exited', code: 0 });
    // The directory of the cgroup is not among the engine's descriptors.
    assert.equal(result.report.get('fd.8'), undefined);
  });

  it('delays no other work of this process while the cgroup is frozen', async () => {
    writeFileSync(join(directory, 'cgroup.freeze'), '1');
    const kinds: string[] = [];
    const { exit } = await launchAs(
      workshop,
      launcher,
      caller,
      {},
      {
        cgroup,
        onAnswer: ({ kind }) => {
          kinds.push(kind);
          if (kind === 'born') writeFileSync(join(directory, 'cgroup.freeze'), '0');
        },
      },
    );
    assert.deepEqual(kinds, ['born', 'ready']);
    assert.deepEqual(exit, { kind: 'exited', code: 0 });
  });

  it('fails with the step if the cgroup was removed', async () => {
    rmdirSync(directory);
    const result = await launchAs(workshop, launcher, caller, {}, { cgroup });
    requireFailure(result, { step: 'cgroup', error: constants.errno.ENOENT });
  });
});
