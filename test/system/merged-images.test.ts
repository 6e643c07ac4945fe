/** criuctl images merge: a chain of dumps in one directory, which restores without the others. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { kernelTracksMemory } from '../../src/proc/memory-tracking.ts';
import { directoryOf, targetOf } from '../hostile/support/people.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';

describe('a chain of dumps', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`is merged into a directory that restores when the chain is gone, and an incomplete chain into none (${user})`, async () => {
      const series = directoryOf(user);
      const target = targetOf(user);
      const at = (name: string): string => join(series, name);
      const tracks = kernelTracksMemory();
      const dump = (name: string, before: string | undefined, ...options: string[]): void => {
        const tracking = tracks ? ['--track-mem'] : [];
        const parent = tracks && before !== undefined ? ['--prev-images-dir', `../${before}`] : [];
        must(criuctlAs(user, 'dump', `${target.pid}`, '-D', at(name), ...tracking, ...parent, ...options));
      };
      dump('1', undefined, '--leave-running');
      await target.assertCountsOn();
      dump('2', '1', '--leave-running');
      await target.assertCountsOn();
      // Pages that this dump has become holes in those before.
      dump('3', '2', ...(tracks ? ['--auto-dedup'] : []));
      await target.assertGone();

      const told = JSON.parse(
        must(criuctlAs(user, 'images', 'merge', at('3'), at('merged'), '--json')).stdout,
      );
      assert.equal(told.merged, tracks ? 3 : 1);
      assert.equal(told.memory.fromParents > 0, tracks);
      assert.equal(existsSync(join(at('merged'), 'parent')), false);
      assert.equal(statSync(at('merged')).mode & 0o777, 0o700);
      const pages = readdirSync(at('merged')).filter((name) => name.startsWith('pages-'));
      const bytes = pages.reduce((sum, name) => sum + statSync(join(at('merged'), name)).size, 0);
      assert.equal(bytes, told.memory.bytes);

      for (const name of readdirSync(at('1'))) if (name.startsWith('pages-')) rmSync(join(at('1'), name));
      const again = criuctlAs(user, 'images', 'merge', at(tracks ? '3' : '1'), at('again'));
      failed(again, 3, /MERGE refused: .*pages-/);
      assert.deepEqual(
        readdirSync(series).filter((name) => name.includes('again')),
        [],
      );
      for (const name of ['1', '2', '3']) rmSync(at(name), { recursive: true });
      must(criuctlAs(user, 'restore', '-D', at('merged')));
      await target.assertCountsOn();
    });
  }
});
