/** Images of pages that are compressed while a dump is at rest. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compress, expand, type RestedFile, type Step } from '../../../src/images/at-rest.ts';
import { compare } from '../../../src/images/compare.ts';
import { readExpanded } from '../../../src/images/expanded.ts';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { writeManifest } from '../../../src/images/manifest/write-manifest.ts';
import { merge } from '../../../src/images/merge.ts';
import { opening } from '../../../src/images/opening.ts';
import { prune } from '../../../src/images/prune.ts';
import { chainSizes } from '../../../src/images/sizes.ts';
import { type Verification, verify } from '../../../src/images/verify.ts';
import { pageSize, smallDump } from './support/dump.ts';
import { image, openBelow, withFilesDuring } from './support/encode.ts';
import { withManifest } from './support/manifest.ts';
import { compressedAs, needsZstd, withoutZstd, withStrangeZstd, zstd } from './support/zstd.ts';

type Files = Readonly<Record<string, Uint8Array>>;

const rights = { uid: 1000, gid: 1000, groups: [1000] };
const pages = 'pages-1.img';
const packed = 'pages-1.img.zst';
const steps: readonly Step[] = [
  'begun',
  'in the middle',
  'written',
  'compared',
  'flushed',
  'named',
  'removed',
];

async function opened<T>(path: string, use: (directory: ImageDirectory) => Promise<T>): Promise<T> {
  const directory = new ImageDirectory(path);
  try {
    return await use(directory);
  } finally {
    directory.close();
  }
}

const compressed = (path: string): Promise<readonly RestedFile[]> =>
  opened(path, async (directory) => (await compress(directory)).files);
const expanded = (path: string): Promise<readonly RestedFile[]> =>
  opened(path, async (directory) => (await expand(directory)).files);

/** As `images verify` reads it, without this machine. */
function verified(path: string): Promise<Verification> {
  return opened(path, async (directory) =>
    verify(directory, rights, undefined, 'all', await readExpanded(directory)),
  );
}

function whys({ findings }: Verification): string {
  return findings.items.map(({ why }) => why).join('\n');
}

/** A dump with 2 MiB of pages, of which half are zero. */
function dump(): Record<string, Uint8Array> {
  const bytes = Buffer.alloc(512 * pageSize);
  for (let at = 0; at < bytes.length / 2; at += 8) bytes.writeDoubleLE(Math.sqrt(at), at);
  smallDump()[pages]!.forEach((byte, at) => {
    bytes[at] = byte;
  });
  const map = image('PAGEMAP', { pages_id: 1 }, { vaddr: 0x10000, compat_nr_pages: 512, flags: 4 });
  return { ...smallDump(), [pages]: bytes, 'pagemap-7.img': map };
}

const whole = dump();
const original = Buffer.from(whole[pages]!);

async function withDump(use: (path: string) => Promise<void>, files: Files = whole): Promise<void> {
  await withFilesDuring(files, async (path) => {
    await use(path);
    assert.deepEqual(openBelow('images-'), []);
  });
}

/** The names of forms of the pages. */
function formsIn(path: string): string[] {
  return readdirSync(path)
    .filter((name) => name.startsWith('pages-'))
    .sort();
}

function isOriginal(path: string): void {
  assert.ok(readFileSync(join(path, pages)).equals(original), 'the pages are as they were');
}

describe('pages at rest', function () {
  this.timeout(120_000);
  before(function () {
    needsZstd(this);
  });

  it('are smaller, keep their owner and mode, and are byte for byte the same when they are expanded, with holes', () =>
    withDump(async (path) => {
      chmodSync(join(path, pages), 0o640);
      const [file] = await compressed(path);
      assert.deepEqual(formsIn(path), [packed]);
      const { size, mode } = statSync(join(path, packed));
      assert.deepEqual(file, { file: pages, bytes: original.length, compressed: size });
      assert.ok(size < original.length / 2);
      assert.equal(mode & 0o777, 0o640);
      assert.equal(
        execFileSync('zstd', ['-dc', join(path, packed)], { maxBuffer: 1 << 24 }).equals(original),
        true,
      );

      assert.deepEqual(await expanded(path), [file]);
      assert.deepEqual(formsIn(path), [pages]);
      isOriginal(path);
      const now = statSync(join(path, pages));
      assert.equal(now.mode & 0o777, 0o640);
      assert.ok(now.blocks * 512 < original.length * 0.75, 'pages of zeros are holes');
    }));

  it('stay as they are when the same is said twice, and an empty image stays, too', () =>
    withDump(
      async (path) => {
        assert.equal((await compressed(path)).length, 1);
        assert.deepEqual(await compressed(path), []);
        assert.equal((await expanded(path)).length, 1);
        assert.deepEqual(await expanded(path), []);
        isOriginal(path);
        assert.equal(statSync(join(path, 'pages-2.img')).size, 0);
      },
      { ...whole, 'pages-2.img': Buffer.alloc(0) },
    ));

  it('are those of the rounds of a live dump, too', () =>
    withDump(async (path) => {
      mkdirSync(join(path, 'round-1'));
      writeFileSync(join(path, 'round-1', pages), original);
      assert.deepEqual(
        (await compressed(path)).map(({ file }) => file),
        [pages, `round-1/${pages}`],
      );
      assert.deepEqual(formsIn(join(path, 'round-1')), [packed]);
      await expanded(path);
      isOriginal(join(path, 'round-1'));
    }));

  for (const way of ['compress', 'expand'] as const) {
    for (const step of steps) {
      it(`lose nothing when the criuctl that is to ${way} them is killed (${step}), and the same command goes on`, () =>
        withDump(async (path) => {
          if (way === 'expand') await compressed(path);
          const script = fileURLToPath(new URL('./support/killed-at-step.ts', import.meta.url));
          const { signal } = spawnSync(process.execPath, ['--import=tsx', script, way, path, step]);
          assert.equal(signal, 'SIGKILL');
          if (existsSync(join(path, pages))) isOriginal(path);
          else assert.ok(zstd(readFileSync(join(path, packed)), '-d').equals(original));
          const verification = await verified(path);
          assert.equal(verification.verdict, 'restores', whys(verification));

          await (way === 'compress' ? compressed : expanded)(path);
          assert.deepEqual(formsIn(path), [way === 'compress' ? packed : pages]);
          await expanded(path);
          assert.deepEqual(formsIn(path), [pages]);
          isOriginal(path);
        }));
    }

    it(`are as they were, with no leftover, when a step on the way to ${way} them fails`, () =>
      withDump(async (path) => {
        if (way === 'expand') await compressed(path);
        const forms = formsIn(path);
        for (const failing of steps.slice(0, 5)) {
          const at = (step: Step): void => {
            if (step === failing) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
          };
          await opened(path, (directory) =>
            assert.rejects((way === 'compress' ? compress : expand)(directory, { at }), /ENOSPC/),
          );
          assert.deepEqual(formsIn(path), forms, failing);
        }
        await expanded(path);
        isOriginal(path);
      }));

    it(`are as they were, with no leftover, when the way to ${way} them is interrupted`, () =>
      withDump(async (path) => {
        if (way === 'expand') await compressed(path);
        const forms = formsIn(path);
        const abort = new AbortController();
        await opened(path, (directory) =>
          assert.rejects(
            (way === 'compress' ? compress : expand)(directory, {
              signal: abort.signal,
              at: (step) => step === 'begun' && abort.abort(),
            }),
            { name: 'AbortError' },
          ),
        );
        assert.deepEqual(formsIn(path), forms);
      }));
  }

  it('stay where a file that was made for them is exchanged before or after it has its name', () =>
    withDump(async (path) => {
      for (const [way, step] of [
        ['compress', 'flushed'],
        ['compress', 'named'],
        ['expand', 'flushed'],
        ['expand', 'named'],
      ] as const) {
        if (way === 'expand') await compressed(path);
        const [kept] = formsIn(path);
        const before = readFileSync(join(path, kept!));
        let strange = '';
        const at = (now: Step): void => {
          if (now !== step) return;
          strange = join(path, formsIn(path).find((name) => name !== kept)!);
          rmSync(strange);
          writeFileSync(strange, 'of another run');
        };
        await opened(path, (directory) =>
          assert.rejects(
            (way === 'compress' ? compress : expand)(directory, { at }),
            /was removed or exchanged meanwhile/,
          ),
        );
        assert.ok(readFileSync(join(path, kept!)).equals(before), `${way} ${step}`);
        assert.equal(readFileSync(strange, 'utf8'), 'of another run');
        rmSync(strange);
        await expanded(path);
        isOriginal(path);
      }
    }));

  it('are written under a name that no other run has, which the next run knows for a leftover', () =>
    withDump(async (path) => {
      const names = new Set<string>();
      const at = (step: Step): void => {
        if (step !== 'written') return;
        names.add(formsIn(path).find((name) => name.endsWith('.new'))!);
        throw new Error('stop');
      };
      for (const _ of [1, 2])
        await opened(path, (directory) => assert.rejects(compress(directory, { at }), /stop/));
      assert.equal(names.size, 2);
      for (const name of names) writeFileSync(join(path, name), 'half');
      await compressed(path);
      assert.deepEqual(formsIn(path), [packed]);
    }));

  it('stay alone, without the form that was just made, when they are changed at the last moment', () =>
    withDump(async (path) => {
      const place = join(path, pages);
      const { atime, mtime } = statSync(place);
      for (const change of [
        () => writeFileSync(place, 'more', { flag: 'a' }),
        () => truncateSync(place, pageSize),
        () => {
          writeFileSync(place, Buffer.alloc(original.length, 1), { flag: 'r+' });
          utimesSync(place, atime, mtime);
        },
      ]) {
        writeFileSync(place, original);
        utimesSync(place, atime, mtime);
        const at = (step: Step): void => {
          if (step === 'named') change();
        };
        await opened(path, (directory) =>
          assert.rejects(compress(directory, { at }), /pages-1\.img was changed meanwhile, and stays/),
        );
        assert.deepEqual(formsIn(path), [pages]);
      }
    }));

  it('are as they were without zstd, which is named, and which no crash has left alone', () =>
    withDump(async (path) => {
      await withoutZstd(() => assert.rejects(compressed(path), { message: 'zstd is not installed' }));
      assert.deepEqual(formsIn(path), [pages]);
      isOriginal(path);
      await compressed(path);
      await withoutZstd(async () => {
        await assert.rejects(expanded(path), { message: 'zstd is not installed' });
        assert.equal(whys(await verified(path)), `${packed} is compressed, and zstd is not installed`);
      });
      assert.deepEqual(formsIn(path), [packed]);
    }));

  it('are not called broken where zstd is ended by a signal, or cannot be started: it cannot be told', () =>
    withDump(async (path) => {
      await compressed(path);
      for (const [script, why] of [
        ['#!/bin/sh\nkill -KILL $$\n', 'zstd was ended by SIGKILL'],
        ['', 'zstd cannot be started: EACCES'],
      ] as const) {
        await withStrangeZstd(script, async () => {
          const verification = await verified(path);
          assert.equal(verification.verdict, 'cannot-be-told', whys(verification));
          assert.equal(whys(verification), `${packed} is compressed, and was not read: ${why}`);
          await assert.rejects(expanded(path), { message: why, is: 'not run' });
        });
        assert.deepEqual(formsIn(path), [packed]);
      }
    }));

  it('are not called broken where this process can open no more files', () =>
    withDump(async (path) => {
      await compressed(path);
      const script = fileURLToPath(new URL('./support/without-descriptors.ts', import.meta.url));
      const words = ['ulimit -n 64; exec "$0" --import=tsx "$1" "$2"', process.execPath, script, path];
      const { stdout, stderr } = spawnSync('sh', ['-c', ...words], { encoding: 'utf8' });
      assert.equal(stdout, 'ZstdError: zstd cannot be started: EMFILE (not run)\n', stderr);
    }));

  it('are not compressed in a directory without an inventory', () =>
    withDump(async (path) => {
      rmSync(join(path, 'inventory.img'));
      await assert.rejects(compressed(path), /inventory\.img is missing: this is no finished dump/);
      isOriginal(path);
    }));

  it('are not read through a link, a FIFO or a directory in their place', () =>
    withDump(async (path) => {
      for (const [name, work] of [
        [pages, compressed],
        [packed, expanded],
      ] as const) {
        const place = join(path, name);
        rmSync(join(path, pages), { force: true });
        for (const put of [
          () => symlinkSync('/etc/passwd', place),
          () => execFileSync('mkfifo', [place]),
          () => mkdirSync(place),
        ]) {
          put();
          await assert.rejects(work(path), /is a link, which is not followed|is no regular file/);
          assert.deepEqual(formsIn(path), [name]);
          rmSync(place, { recursive: true });
        }
      }
    }));

  it('are not written through a link in the place of the unfinished file', () =>
    withDump(async (path) => {
      const elsewhere = join(path, 'elsewhere');
      writeFileSync(elsewhere, 'mine');
      symlinkSync(elsewhere, join(path, `${packed}.new`));
      await compressed(path);
      linkSync(elsewhere, join(path, `${pages}.new`));
      await expanded(path);
      isOriginal(path);
      assert.equal(readFileSync(elsewhere, 'utf8'), 'mine');
    }));

  it('are refused, and stay, if the compressed image is cut off, changed, of another program, or has more than it tells', () =>
    withDump(async (path) => {
      const good = compressedAs(original);
      const flipped = Buffer.from(good);
      flipped[good.length >> 1]! ^= 1;
      const more = Buffer.concat([compressedAs(original), compressedAs(original)]);
      rmSync(join(path, pages));
      for (const [bytes, why] of [
        [good.subarray(0, good.length - 10), /zstd has failed: /],
        [good.subarray(0, 3), /is no file of zstd, or was cut off/],
        [Buffer.from('no frame of zstd at all'), /is no file of zstd/],
        [flipped, /zstd has failed: |has \d+ bytes of pages/],
        [zstd(original), /does not tell its size and a checksum/],
        [
          zstd(original, '--no-check', `--stream-size=${original.length}`),
          /does not tell its size and a checksum/,
        ],
        [more, /has more pages than the 2097152 bytes it tells/],
        [compressedAs(original.subarray(pageSize)), undefined],
      ] as const) {
        writeFileSync(join(path, packed), bytes);
        const verification = await verified(path);
        assert.notEqual(verification.verdict, 'restores');
        assert.match(whys(verification), why ?? /pages-1\.img has 2093056 bytes of 2097152/);
        assert.doesNotMatch(whys(verification), /missing/);
        if (why === undefined) continue;
        await assert.rejects(expanded(path), why);
        assert.deepEqual(formsIn(path), [packed]);
        assert.ok(readFileSync(join(path, packed)).equals(bytes));
      }
    }));

  it('stay in both forms if a file beside the other has other pages', () =>
    withDump(
      async (path) => {
        for (const work of [compressed, expanded])
          await assert.rejects(work(path), /pages-1\.img\.zst has other pages than pages-1\.img beside it/);
        assert.deepEqual(formsIn(path), [pages, packed]);
        isOriginal(path);
      },
      { ...whole, [packed]: compressedAs(Buffer.alloc(original.length, 1)) },
    ));

  it('are compared with the size and the digest in the manifest, and stay where these differ', async () => {
    const other = Buffer.from(original);
    other[7] = 1;
    const said = withManifest(whole);
    await withDump(
      async (path) => {
        await assert.rejects(
          compressed(path),
          /pages-1\.img was changed after the dump: its digest is another/,
        );
        assert.deepEqual(formsIn(path), [pages]);
        writeFileSync(join(path, packed), compressedAs(other));
        rmSync(join(path, pages));
        const verification = await verified(path);
        assert.match(
          whys(verification),
          /^pages-1\.img\.zst was changed after the dump: its digest is another$/,
        );
        await assert.rejects(
          expanded(path),
          /pages-1\.img was changed after the dump: its digest is another/,
        );
        assert.deepEqual(formsIn(path), [packed]);
      },
      { ...said, [pages]: other },
    );
    await withDump(
      async (path) => {
        await assert.rejects(
          compressed(path),
          /has 2093056 bytes, and had 2097152 when the dump was complete/,
        );
        assert.deepEqual(formsIn(path), [pages]);
      },
      { ...said, [pages]: original.subarray(pageSize) },
    );
  });

  it('restore by their manifest, with digests that were read and with those that were not', () =>
    withDump(async (path) => {
      await compressed(path);
      const read = await verified(path);
      assert.deepEqual([read.verdict, read.compressed, whys(read)], ['restores', 1, '']);
      const quick = opening(path, (directory) => verify(directory, rights, undefined, 'small'));
      assert.equal(quick.verdict, 'restores');
      const unread = opening(path, (directory) => verify(directory, rights, undefined));
      assert.equal(unread.verdict, 'cannot-be-told');
      assert.match(whys(unread), /pages-1\.img\.zst is compressed, and its pages were not read/);
    }, withManifest(whole)));

  it('have a single finding where they are broken, and the manifest has their digest', () =>
    withDump(async (path) => {
      const good = compressedAs(original);
      rmSync(join(path, pages));
      writeFileSync(join(path, packed), good.subarray(0, good.length - 10));
      assert.match(whys(await verified(path)), /^pages-1\.img\.zst cannot be expanded: zstd has failed: .*$/);
    }, withManifest(whole)));

  it('count with their own size and with that of the pages', () =>
    withDump(async (path) => {
      await compressed(path);
      const { size } = statSync(join(path, packed));
      const [sizes] = opening(path, chainSizes).directories;
      assert.deepEqual(sizes!.compressed, { files: 1, bytes: size, expanded: original.length });
      assert.equal(sizes!.pages.bytes, size);
    }));

  it('are compared and merged only when they are expanded, which the sentence says', () =>
    withDump(async (path) => {
      await compressed(path);
      const { faults } = opening(path, (one) => opening(path, (other) => compare(one, other)));
      assert.match(
        faults.map(({ why }) => why).join(),
        /is compressed; expand it first: criuctl images expand /,
      );
      const to = `${path}-merged`;
      await assert.rejects(merge(path, to, rights), /is compressed; expand it first: criuctl images expand /);
      assert.equal(existsSync(to), false);
    }));

  it('are listed in no new manifest', () =>
    withDump(async (path) => {
      await compressed(path);
      await assert.rejects(
        writeManifest(path, { leftRunning: false, restoreWith: [] }),
        /cannot list pages-1\.img, which is compressed/,
      );
    }));

  it('of a parent count for its child, by their size', () =>
    withDump(async (place) => {
      mkdirSync(join(place, '1'));
      mkdirSync(join(place, '2'));
      for (const [name, bytes] of Object.entries(whole)) {
        writeFileSync(join(place, '1', name), bytes);
        writeFileSync(join(place, '2', name), bytes);
      }
      symlinkSync('../1', join(place, '2', 'parent'));
      writeFileSync(
        join(place, '2', 'pagemap-7.img'),
        image('PAGEMAP', { pages_id: 1 }, { vaddr: 0x10000, compat_nr_pages: 512, flags: 1 }),
      );
      truncateSync(join(place, '2', pages), 0);
      await compressed(join(place, '1'));
      const verification = await verified(join(place, '2'));
      assert.deepEqual([verification.verdict, verification.compressed], ['restores', 1], whys(verification));
      await withoutZstd(async () => {
        const without = await verified(join(place, '2'));
        assert.equal(without.verdict, 'does-not-restore');
        assert.match(whys(without), /1\/pages-1\.img\.zst is compressed, and zstd is not installed$/);
      });
      writeFileSync(join(place, '1', packed), compressedAs(original.subarray(pageSize)));
      assert.match(whys(await verified(join(place, '2'))), /1\/pages-1\.img has 2093056 bytes of 2097152/);
    }, {}));

  it('are of a dump that is pruned like others, with what a killed criuctl has left', () =>
    withDump(async (place) => {
      for (const name of ['1', '2', '3']) {
        mkdirSync(join(place, name));
        for (const [file, bytes] of Object.entries(whole)) writeFileSync(join(place, name, file), bytes);
        await compressed(join(place, name));
      }
      writeFileSync(join(place, '1', `${pages}.new`), 'half');
      writeFileSync(join(place, '2', `${packed}.new`), 'half');
      renameSync(join(place, '2', `${packed}.new`), join(place, '2', 'notes.zst'));
      const { checkpoints } = prune(place, 1);
      assert.deepEqual(
        checkpoints.map(({ number, is, foreign }) => [number, is, foreign]),
        [
          [1, 'whole', undefined],
          [2, 'foreign', 'notes.zst'],
          [3, 'whole', undefined],
        ],
      );
      assert.deepEqual(readdirSync(place).sort(), ['2', '3']);
      assert.deepEqual(formsIn(join(place, '3')), [packed]);
    }, {}));
});
