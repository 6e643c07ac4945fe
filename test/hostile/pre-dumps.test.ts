/** Pre-dumps by which an engine would act for alice beyond her own rights, or harm a process that is not hers. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, symlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually, freshDirectory, needsSoftDirty } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { engines } from '../system/support/it.ts';
import { Attacker, connection } from './support/attacker.ts';
import { assertRefused, it } from './support/guarantee.ts';
import { directoryOf, targetOf } from './support/people.ts';

describe('a pre-dump of alice’s', () => {
  it('of a process of root’s is refused, alone and as a later round of a loop', async function () {
    needsSoftDirty(this);
    const [own, victim] = [targetOf('alice'), targetOf('root')];
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    for (const type of [ReqType.SINGLE_PRE_DUMP, ReqType.PRE_DUMP]) {
      const opts = { images_dir_fd: 10, pid: victim.pid };
      assertRefused(await alice.ask({ type, opts }, ourAddress), /has the uid 0/);
    }
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.PRE_DUMP, opts: { images_dir_fd: 10, pid: own.pid } });
    const first = await alice.receive();
    assert.ok(first !== 'closed' && first.success, JSON.stringify(first));
    await alice.send({ type: ReqType.PRE_DUMP, opts: { images_dir_fd: 10, pid: victim.pid } });
    assertRefused(await alice.receive(), /has the uid 0/);
    await victim.assertCountsOn();
    await own.assertCountsOn();
  });

  it('with a parent that leads into a directory of root’s reads and writes nothing there', async function () {
    needsSoftDirty(this);
    const target = targetOf('alice');
    const roots = freshDirectory();
    const images = directoryOf('alice');
    symlinkSync(roots, join(images, 'parent'));
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, images);
    for (const extra of [{}, { parent_img: roots }, { auto_dedup: true }]) {
      const opts = { images_dir_fd: 10, pid: target.pid, track_mem: true, leave_running: true, ...extra };
      await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    }
    assert.deepEqual(readdirSync(roots), []);
    await target.assertCountsOn();
  });

  it('whose engine is killed while the tree is frozen leaves the tree to the kernel, and no engine', async function () {
    needsSoftDirty(this);
    const target = targetOf('alice');
    const alice = new Attacker('alice');
    const images = directoryOf('alice');
    await alice.do('open', 10, 0, images);
    await alice.connect(ourAddress);
    await alice.send({ type: ReqType.PRE_DUMP, opts: { images_dir_fd: 10, pid: target.pid } });
    await eventually(
      'there is an engine, or it is over',
      () => engines().length > 0 || existsSync(join(images, 'stats-dump')),
    );
    for (const engine of engines()) await alice.do('kill', engine, constants.signals.SIGKILL).catch(() => {});
    await alice.receive();
    await alice.do('close', connection).catch(() => {});
    await eventually('no engine is left', () => engines().length === 0);
    const other = new Attacker('bob');
    const reply = await other.ask({ type: ReqType.VERSION }, ourAddress);
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
  });
});
