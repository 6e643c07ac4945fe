/** Pages at rest: dumps whose pages are compressed are verified and restored, and lose nothing where zstd is missing or fails. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { as, directoryOf, targetOf, uids } from '../hostile/support/people.ts';
import { commandMs, needsSoftDirty } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';

function formsIn(images: string): { pages: string[]; compressed: string[] } {
  const names = readdirSync(images).filter((name) => name.startsWith('pages-'));
  return {
    pages: names.filter((name) => name.endsWith('.img') && statSync(join(images, name)).size > 0),
    compressed: names.filter((name) => name.endsWith('.zst')),
  };
}

describe('compressed images', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`are made by dump --compress, verified, and expanded by a restore, after which the program goes on (${user})`, async () => {
      const target = targetOf(user);
      const images = join(directoryOf(user), 'images');
      const dumped = JSON.parse(
        must(criuctlAs(user, 'dump', `${target.pid}`, '-D', images, '--compress', '--digest-pages', '--json'))
          .stdout,
      );
      await target.assertGone();
      const { pages, compressed } = formsIn(images);
      assert.deepEqual(pages, []);
      assert.equal(compressed.length, dumped.compressed.files);
      assert.ok(dumped.compressed.compressed < dumped.compressed.bytes);
      for (const name of compressed) assert.equal(statSync(join(images, name)).uid, uids[user]);

      const { verdict, compressed: files } = JSON.parse(
        must(criuctlAs(user, 'images', 'verify', images, '--json')).stdout,
      );
      assert.deepEqual([verdict, files], ['restores', compressed.length]);
      assert.match(must(criuctlAs(user, 'images', 'show', images)).stdout, /\bcounter\b.*\nCompressed +\d/s);

      const { expanded } = JSON.parse(must(criuctlAs(user, 'restore', '-D', images, '--json')).stdout);
      assert.equal(expanded[0].files, compressed.length);
      await target.assertCountsOn();
      assert.deepEqual(formsIn(images).compressed, []);
    });

    it(`are made of a finished dump and back, byte for byte (${user})`, async () => {
      const target = targetOf(user);
      const images = join(directoryOf(user), 'images');
      must(criuctlAs(user, 'dump', `${target.pid}`, '-D', images));
      await target.assertGone();
      const before = formsIn(images).pages.map((name) => readFileSync(join(images, name)));
      must(criuctlAs(user, 'images', 'compress', images));
      assert.deepEqual(formsIn(images).pages, []);
      must(criuctlAs(user, 'images', 'expand', images));
      const { pages, compressed } = formsIn(images);
      assert.deepEqual(compressed, []);
      for (const [index, name] of pages.entries())
        assert.ok(readFileSync(join(images, name)).equals(before[index]!), name);
      must(criuctlAs(user, 'restore', '-D', images));
      await target.assertCountsOn();
    });

    it(`of the dump before are expanded for a restore, and refused for the next dump until then (${user})`, async function () {
      needsSoftDirty(this);
      const series = directoryOf(user);
      const target = targetOf(user);
      const at = (name: string): string => join(series, name);
      const dump = (name: string, ...options: string[]) =>
        criuctlAs(user, 'dump', `${target.pid}`, '-D', at(name), '--track-mem', ...options);
      must(dump('1', '--leave-running'));
      await target.assertCountsOn();
      must(criuctlAs(user, 'images', 'compress', at('1')));
      failed(
        dump('2', '--prev-images-dir', '../1'),
        3,
        /DUMP refused: the images before are compressed/,
        /criuctl images expand .*1/,
      );
      await target.assertCountsOn();
      must(criuctlAs(user, 'images', 'expand', at('1')));
      must(dump('2', '--prev-images-dir', '../1'));
      await target.assertGone();
      for (const name of ['1', '2']) must(criuctlAs(user, 'images', 'compress', at(name)));
      must(criuctlAs(user, 'restore', '-D', at('2')));
      await target.assertCountsOn();
      for (const name of ['1', '2']) assert.deepEqual(formsIn(at(name)).compressed, []);
    });

    it(`are refused by a restore when they are cut off, and lose nothing without zstd (${user})`, async () => {
      const target = targetOf(user);
      const images = join(directoryOf(user), 'images');
      must(criuctlAs(user, 'dump', `${target.pid}`, '-D', images, '--compress'));
      await target.assertGone();
      const [first] = formsIn(images).compressed;
      const path = join(images, first!);
      const whole = readFileSync(path);
      writeFileSync(path, whole.subarray(0, whole.length - 8));
      failed(criuctlAs(user, 'restore', '-D', images), 1, /RESTORE failed in .*: zstd has failed: /);
      writeFileSync(path, whole);
      // Node is found by its own path, and zstd by PATH.
      const withoutZstd = ['/usr/bin/env', 'PATH=/nowhere', process.execPath, '/usr/bin/criuctl'];
      const [file, ...rest] = [...as(user), ...withoutZstd, 'restore', '-D', images];
      const { status, stderr } = spawnSync(file!, rest, { encoding: 'utf8', timeout: commandMs });
      assert.equal(status, 3, stderr);
      assert.match(
        stderr,
        /RESTORE refused: .* is compressed, and zstd is not installed\nTo restore them: install zstd$/m,
      );
      assert.ok(readFileSync(path).equals(whole));
      must(criuctlAs(user, 'restore', '-D', images));
      await target.assertCountsOn();
    });
  }

  it('of alice are not touched by root without --trust-images', async () => {
    const target = targetOf('alice');
    const images = join(directoryOf('alice'), 'images');
    must(criuctlAs('alice', 'dump', `${target.pid}`, '-D', images));
    await target.assertGone();
    const { pages } = formsIn(images);
    failed(
      criuctlAs('root', 'images', 'compress', images),
      3,
      /COMPRESS refused: /,
      /Say criuctl images compress as that user, or say --trust-images/,
    );
    assert.deepEqual(formsIn(images), { pages, compressed: [] });
    must(criuctlAs('root', 'images', 'compress', images, '--trust-images'));
    for (const name of formsIn(images).compressed)
      assert.equal(statSync(join(images, name)).uid, uids.alice, 'they stay alice’s');
    must(criuctlAs('alice', 'restore', '-D', images));
    await target.assertCountsOn();
    rmSync(images, { recursive: true });
  });
});
