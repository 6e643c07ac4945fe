/** Pre-dumps and tracked memory of a user without root. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuOpts, ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, targetOf } from '../hostile/support/people.ts';
import { eventually, needsSoftDirty, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { Target } from './support/targets.ts';

/** Directories `1`, `2` and so on of alice's; in the attacker their descriptors are 11, 12 and so on. */
async function roundsOf(alice: Attacker, number: number): Promise<string> {
  const images = directoryOf('alice');
  const [file, ...argv] = as('alice');
  for (let round = 1; round <= number; round += 1) {
    run(file!, ...argv, 'mkdir', join(images, `${round}`));
    await alice.do('open', 10 + round, 0, join(images, `${round}`));
  }
  return images;
}

/** @param isFirst it has all pages. */
function optionsOf(round: number, pid: number, isFirst = round === 1): CriuOpts {
  const parent = isFirst ? {} : { parent_img: `../${round - 1}` };
  return { images_dir_fd: 10 + round, pid, track_mem: true, log_file: 'criu.log', ...parent };
}

function bytesIn(images: string, round: number): number {
  const directory = join(images, `${round}`);
  const pages = readdirSync(directory).filter((name) => /^pages-\d+\.img$/.test(name));
  return pages.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

async function restored(alice: Attacker, directory: number): Promise<void> {
  const reply = await alice.ask({ type: ReqType.RESTORE, opts: { images_dir_fd: directory } }, ourAddress);
  assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
}

/** Counts beside 32 MiB that stay as they are. It prints its pid. */
const large = `
import os, sys, time
memory = os.urandom(32 << 20)
pid = os.fork()
if pid:
    print(pid)
    sys.stdout.flush()
    os._exit(0)
os.setsid()
for fd in range(3): os.dup2(os.open('/dev/null', os.O_RDWR), fd)
count = 0
while True:
    count += 1
    with open(sys.argv[1] + '.new', 'w') as file: file.write(str(count))
    os.replace(sys.argv[1] + '.new', sys.argv[1])
    time.sleep(0.05)
`;

describe('alice with a kernel that tracks memory', () => {
  it('pre-dumps in a loop that a dump ends: each round has only what has changed, and the last comes back', async function () {
    needsSoftDirty(this);
    const target = targetOf('alice');
    const alice = new Attacker('alice');
    const images = await roundsOf(alice, 3);
    await alice.connect(ourAddress);
    for (const round of [1, 2]) {
      await target.assertCountsOn();
      await alice.send({ type: ReqType.PRE_DUMP, opts: optionsOf(round, target.pid) });
      const reply = await alice.receive();
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    }
    await target.assertCountsOn();
    await alice.send({ type: ReqType.DUMP, opts: optionsOf(3, target.pid) });
    const reply = await alice.receive();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await target.assertGone();
    assert.ok(bytesIn(images, 2) < bytesIn(images, 1), 'the second round has all pages again');
    assert.ok(bytesIn(images, 3) < bytesIn(images, 1), 'the dump has all pages again');
    await restored(alice, 13);
    await target.assertCountsOn();
  });

  it('pre-dumps on a connection of its own, dumps by that, restores, and begins anew with what was restored', async function () {
    needsSoftDirty(this);
    const target = targetOf('alice');
    const alice = new Attacker('alice');
    const images = await roundsOf(alice, 4);
    for (const first of [1, 3]) {
      const opts = optionsOf(first, target.pid, true);
      const pre = await alice.ask({ type: ReqType.SINGLE_PRE_DUMP, opts }, ourAddress);
      assert.ok(pre !== 'closed' && pre.success, JSON.stringify(pre));
      await target.assertCountsOn();
      const next = optionsOf(first + 1, target.pid);
      const dump = await alice.ask({ type: ReqType.DUMP, opts: next }, ourAddress);
      assert.ok(dump !== 'closed' && dump.success, JSON.stringify(dump));
      await target.assertGone();
      assert.ok(bytesIn(images, first + 1) < bytesIn(images, first));
      await restored(alice, 10 + first + 1);
      await target.assertCountsOn();
    }
  });

  it('has a large program dumped live by criuctl: little is written while it is frozen, and it comes back', async function () {
    needsSoftDirty(this);
    const file = join(directoryOf('alice'), 'count');
    const [command, ...argv] = [...as('alice', ...unshackled()), '/usr/bin/python3', '-c', large, file];
    const pid = Number(run(command!, ...argv));
    const target = new Target(pid, file);
    await eventually('it counts', () => existsSync(file));
    await target.assertCountsOn();
    const images = join(directoryOf('alice'), 'images');
    const { stdout } = must(criuctlAs('alice', 'dump', `${pid}`, '-D', images, '--live=3', '--json'));
    const { rounds, statistics } = JSON.parse(stdout);
    await target.assertGone();
    assert.ok(rounds.length >= 2 && rounds.length <= 3, stdout);
    assert.ok(rounds[0].bytes > 32 << 20, stdout);
    assert.ok(rounds.at(-1).bytes < rounds[0].bytes / 4, stdout);
    assert.ok(statistics.pagesWritten < rounds[0].statistics.pagesWritten / 4, stdout);
    assert.equal(must(criuctlAs('alice', 'restore', '-D', images)).stdout.trim(), `${pid}`);
    await target.assertCountsOn();
  });
});
