/** The cache of kernel features for users without root: root's process finds them out, once, and no user can change the cache. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { keptKerndat } from '../../src/engine/kerndat.ts';
import { type CriuOpts, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { as, directoryOf, targetOf, uids } from '../hostile/support/people.ts';
import { eventually, run, succeeds } from './support/bench.ts';
import { ourAddress } from './support/client.ts';

const loaded = `Loaded kdat cache from ${keptKerndat}`;

/** @returns CRIU's log. */
async function logOf(type: ReqType, images: string, opts: Partial<CriuOpts>): Promise<string> {
  const alice = new Client('alice');
  await alice.do('open', 10, 0, images);
  const file = `${ReqType[type]}.log`;
  const reply = await alice.ask(
    { type, opts: { images_dir_fd: 10, log_level: 4, log_file: file, ...opts } },
    ourAddress,
  );
  await alice.end();
  assert.equal((reply as CriuResp).success, true, JSON.stringify(reply));
  return readFileSync(join(images, file), 'latin1');
}

const isKept = () => existsSync(keptKerndat) && (statSync(keptKerndat).mode & 0o777) === 0o644;

describe('the cache of kernel features', () => {
  it('is written after the first request with an engine without root, and read by the next engines', async () => {
    rmSync(keptKerndat, { force: true });
    // As an interrupted attempt leaves it.
    mkdirSync(dirname(keptKerndat), { recursive: true });
    writeFileSync(`${keptKerndat}.tmp`, '');
    run('systemctl', 'reload-or-restart', 'criu.service');
    const target = targetOf('alice');
    const images = directoryOf('alice');
    const first = await logOf(ReqType.DUMP, images, { pid: target.pid, leave_running: true });
    assert.ok(!first.includes(loaded), 'there was none yet');
    await eventually('what was found out is kept', isKept);
    const second = await logOf(ReqType.DUMP, images, { pid: target.pid });
    assert.ok(second.includes(loaded), second);
    await target.assertGone();
    const restored = await logOf(ReqType.RESTORE, images, {});
    assert.ok(restored.includes(loaded), restored);
    await target.assertCountsOn();
  });

  it('is written for root, and only root can write it', async () => {
    await eventually('what was found out is kept', isKept);
    for (const path of [keptKerndat, dirname(keptKerndat)]) {
      assert.equal(statSync(path).uid, uids.root);
      const [program, ...argv] = [...as('alice'), 'test', '-w', path];
      assert.ok(!succeeds(program!, ...argv), path);
    }
  });

  it('is renewed if criu was replaced', async () => {
    await eventually('what was found out is kept', isKept);
    const before = statSync(keptKerndat, { bigint: true }).mtimeNs;
    const { mode } = statSync('/usr/sbin/criu');
    // Only the time of change differs.
    chmodSync('/usr/sbin/criu', mode & 0o7777);
    const target = targetOf('alice');
    await logOf(ReqType.DUMP, directoryOf('alice'), { pid: target.pid, leave_running: true });
    const isNewer = () => isKept() && statSync(keptKerndat, { bigint: true }).mtimeNs > before;
    await eventually('what is known is of the new one', isNewer);
  });
});
