/** Dumps by root: root's memory goes into a directory that alice has prepared. Each verb has its tests in the system suite. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lchownSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freshDirectory } from '../system/support/bench.ts';
import { Target } from '../system/support/targets.ts';
import { it } from './support/guarantee.ts';
import { directoryOf, uids } from './support/people.ts';

/** Runs criuctl as root, as the manual tells it. @returns its status and its messages. */
function dump(
  target: Target,
  directory: string,
): { readonly status: number | null; readonly stderr: string } {
  const words = ['dump', String(target.pid), '--images-dir', directory, '--log-file', 'dump.log', '-v4'];
  return spawnSync('criuctl', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

describe('criuctl dump as root into a directory of alice’s', () => {
  it('does not fill a file of hers with root’s memory', async () => {
    const directory = directoryOf('alice');
    const pages = join(directory, 'pages-1.img');
    writeFileSync(pages, '');
    chmodSync(pages, 0o666);
    chownSync(pages, uids.alice, uids.alice);
    const target = Target.start();
    const { status, stderr } = dump(target, directory);
    const { size, uid } = statSync(pages);
    assert.ok(size === 0 || uid === 0, `status ${status}: ${size} bytes of root’s in a file of uid ${uid}`);
    assert.notEqual(status, 0, stderr);
    await target.assertCountsOn();
  });

  it('does not create a file behind a link of hers', async () => {
    const directory = directoryOf('alice');
    const made = join(freshDirectory(), 'made-by-root');
    const link = join(directory, 'dump.log');
    symlinkSync(made, link);
    lchownSync(link, uids.alice, uids.alice);
    const target = Target.start();
    const { status, stderr } = dump(target, directory);
    assert.equal(existsSync(made), false, `status ${status}: root has made ${made}`);
    assert.notEqual(status, 0, stderr);
    await target.assertCountsOn();
  });
});
