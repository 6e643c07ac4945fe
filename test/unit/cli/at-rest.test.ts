/** criuctl images compress and expand, and the same as a part of a restore. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { claim } from '../../../src/cli/claim.ts';
import { parseCommandLine } from '../../../src/cli/command-line.ts';
import { destinationOf } from '../../../src/cli/destination.ts';
import { run as dumped } from '../../../src/cli/dump.ts';
import { atRest, compressDump, compressedDirectories, expandChain } from '../../../src/cli/images/at-rest.ts';
import { restedAsJson, restedInWords } from '../../../src/cli/images/at-rest-words.ts';
import { run } from '../../../src/cli/images/images.ts';
import { type Invocation, isObstacle, type Outcome } from '../../../src/cli/invocation.ts';
import { run as restored } from '../../../src/cli/restore.ts';
import { verifyFirst } from '../../../src/cli/verify-first.ts';
import { eventually } from '../../native/support.ts';
import { smallDump } from '../images/support/dump.ts';
import { withFilesOfCriuctl as withFilesDuring } from '../images/support/encode.ts';
import { withManifest } from '../images/support/manifest.ts';
import { needsZstd, withoutZstd, withStrangeZstd } from '../images/support/zstd.ts';

const pages = 'pages-1.img';
const packed = 'pages-1.img.zst';
const { signal } = new AbortController();

function invocation(more: { action?: string; path?: string; trustImages?: boolean } = {}): Invocation {
  const { trustImages = false, ...words } = more;
  return { verb: 'images', signal, own: { trustImages }, options: {}, ...words } as unknown as Invocation;
}

/** A command line, with a client in the place of the service's. */
function asking(argv: readonly string[], client: object): Invocation {
  return { ...parseCommandLine(argv), signal, watched: false, client: () => client } as unknown as Invocation;
}

/** The exit status and the sentences of a refusal. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(isObstacle(error), String(error));
    return [error.exitCode, error.message, ...error.advice].join('\n');
  }
  return assert.fail('it was not refused');
}

function formsIn(path: string): string[] {
  return readdirSync(path)
    .filter((name) => name.startsWith('pages-'))
    .sort();
}

describe('criuctl images compress and expand', () => {
  before(function () {
    needsZstd(this);
  });

  it('tell in words and in JSON how many images became how small', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      const rested = await atRest('compress', path, invocation());
      assert.match(
        restedInWords(rested, 'compress'),
        /^1 image of pages in \S+ compressed: 12\.0 KiB are now \d+ bytes$/,
      );
      const { files, total } = restedAsJson(rested, 'compress') as { files: object[]; total: object };
      assert.deepEqual(files, rested.files);
      assert.deepEqual(total, { files: 1, bytes: 12288, compressed: rested.files[0]!.compressed });
      const none = await atRest('compress', path, invocation());
      assert.match(restedInWords(none, 'compress'), /has no image of pages that is not compressed$/);
      assert.match(
        restedInWords(await atRest('expand', path, invocation()), 'expand'),
        /expanded: \d+ bytes are now 12\.0 KiB$/,
      );
      assert.deepEqual(formsIn(path), [pages]);
      assert.equal(existsSync(join(path, 'criuctl.lock')), false);
    });
  });

  it('name zstd where it is missing, and what is there still', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      const said = await withoutZstd(() => refusal(atRest('compress', path, invocation())));
      assert.match(
        said,
        /^1\nCOMPRESS failed in \S+: zstd is not installed\nInstall zstd\. Each image is there/,
      );
    });
  });

  it('are refused while another criuctl dumps into the directory', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      const lock = claim(path, 'dump');
      try {
        assert.match(
          await refusal(atRest('compress', path, invocation())),
          /^3\nCOMPRESS refused: another criuctl dumps into \S+, or compresses it, right now\n/,
        );
      } finally {
        lock.release();
      }
      assert.deepEqual(formsIn(path), [pages]);
    });
  });

  it('are refused, as a restore is, where the lock is of another user, so that no other criuctl would be seen', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await compressDump(path, path, signal);
      chmodSync(path, 0o777);
      writeFileSync(join(path, 'criuctl.lock'), '', { mode: 0o600 });
      process.seteuid!(1500);
      try {
        for (const work of [
          () => atRest('compress', path, invocation()),
          () => atRest('expand', path, invocation()),
          () => expandChain(path, path, signal),
        ])
          assert.match(
            await refusal(work()),
            /^3\n(?:COMPRESS|EXPAND|RESTORE) refused: \S+\/criuctl\.lock is not yours, so that a criuctl at work there would not be seen\nAsk its owner/,
          );
      } finally {
        process.seteuid!(0);
      }
      assert.deepEqual(formsIn(path), [packed]);
    });
  });

  it('are refused as root in a directory, or with a round, that others can write, unless it is to be trusted', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      chmodSync(path, 0o755);
      mkdirSync(join(path, 'round-1'));
      chmodSync(join(path, 'round-1'), 0o777);
      assert.match(
        await refusal(atRest('compress', path, invocation())),
        /^3\nCOMPRESS refused: \S+round-1 .*, and whoever writes there decides what root reads and removes\nSay criuctl images compress as that user, or say --trust-images$/,
      );
      rmSync(join(path, 'round-1'), { recursive: true });
      chownSync(path, 1500, 1500);
      assert.match(await refusal(atRest('expand', path, invocation())), /^3\nEXPAND refused: /);
      assert.deepEqual(formsIn(path), [pages]);
      await atRest('compress', path, invocation({ trustImages: true }));
      assert.deepEqual(formsIn(path), [packed]);
    });
  });

  it('are interrupted by SIGINT with status 130, and leave the pages as they were, no other file and no lock', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await withStrangeZstd(`#!/bin/sh\necho begun >${path}/begun\nexec sleep 1000\n`, async () => {
        const words = ['--import=tsx', 'src/bin/criuctl.ts', 'images', 'compress', path, '--trust-images'];
        const child = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe'] });
        let said = '';
        child.stderr.on('data', (text) => {
          said += text;
        });
        const ended = new Promise((resolve) => child.once('close', (...how) => resolve(how)));
        await eventually(() => existsSync(join(path, 'begun')));
        child.kill('SIGINT');
        assert.deepEqual(await ended, [130, null], said);
        assert.match(said, /Interrupted/);
      });
      assert.deepEqual(formsIn(path), [pages]);
      assert.equal(existsSync(join(path, 'criuctl.lock')), false);
    });
  });

  it('say that a directory is missing', async () => {
    const path = '/nowhere/images';
    for (const trustImages of [false, true])
      assert.match(
        await refusal(run(invocation({ action: 'compress', path, trustImages }))),
        /^5\nCannot open \/nowhere\/images: ENOENT: no such file or directory$/,
      );
  });

  it('leave frames that others can write unread by root’s zstd, also in a look, unless they are to be trusted', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await compressDump(path, path, signal);
      chownSync(path, 1500, 1500);
      const said = (trustImages: boolean): Promise<string> =>
        withStrangeZstd(`#!/bin/sh\necho run >${path}/run\nexit 1\n`, async () => {
          return (await run(invocation({ action: 'verify', path, trustImages }))).sentence;
        });
      assert.match(
        await said(false),
        /pages-1\.img\.zst is compressed, and was not read: \S+ belongs to uid 1500.*--trust-images/s,
      );
      assert.equal(existsSync(join(path, 'run')), false);
      assert.match(await said(true), /pages-1\.img\.zst cannot be expanded: zstd has failed/);
      assert.equal(existsSync(join(path, 'run')), true);
    });
  });

  it('tell what is compressed in show, size and verify, with the command lines of the manifest', async () => {
    await withFilesDuring(withManifest(smallDump()), async (path) => {
      await atRest('compress', path, invocation());
      const said = async (action: string): Promise<string> =>
        (await run(invocation({ action, path }))).sentence;
      assert.match(
        await said('show'),
        /\bsleep 1000\b.*\nCompressed +1 image of pages, \d+ bytes that are 12\.0 KiB when/s,
      );
      assert.match(
        await said('size'),
        /\n1 image of pages compressed: \d+ bytes, and 12\.0 KiB when expanded/,
      );
      const { json } = await run(invocation({ action: 'verify', path }));
      assert.equal((json as { compressed: number }).compressed, 1);
    });
  });
});

describe('a restore of compressed images', () => {
  before(function () {
    needsZstd(this);
  });

  it('finds nothing missing, and expands the images, and those of the parent, in their place', async () => {
    await withFilesDuring({}, async (place) => {
      for (const name of ['1', '2']) {
        mkdirSync(join(place, name));
        for (const [file, bytes] of Object.entries(withManifest(smallDump())))
          writeFileSync(join(place, name, file), bytes);
        await compressDump(join(place, name), 'shown', signal);
      }
      symlinkSync('../1', join(place, '2', 'parent'));
      const path = join(place, '2');
      await verifyFirst({ own: { noVerify: false }, options: {} } as unknown as Invocation, path);
      assert.equal(compressedDirectories(path).length, 2);
      const done = await expandChain(path, path, signal);
      assert.deepEqual(
        done.map(({ directory, files }) => [directory, files.length]),
        [
          [path, 1],
          [`${path}/../1`, 1],
        ],
      );
      assert.deepEqual(compressedDirectories(path), []);
      for (const name of ['1', '2'])
        assert.ok(readFileSync(join(place, name, pages)).equals(smallDump()[pages]!));
    });
  });

  it('is refused in a directory where its user cannot write, with the way on', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await compressDump(path, path, signal);
      for (const name of ['', packed]) chmodSync(join(path, name), 0o755);
      process.seteuid!(1500);
      try {
        assert.match(
          await refusal(expandChain(path, path, signal)),
          /^1\nRESTORE failed in \S+: EACCES: permission denied\nCopy \S+ to a directory of your own, and use that$/,
        );
      } finally {
        process.seteuid!(0);
      }
      assert.deepEqual(formsIn(path), [packed]);
    });
  });

  it('asks CRIU when the pages are expanded', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await compressDump(path, path, signal);
      let forms: string[] = [];
      const restore = async (): Promise<object> => {
        forms = formsIn(path);
        return { pid: process.pid };
      };
      const { json } = await restored(asking(['restore', '-D', path, '--leave-stopped'], { restore }));
      assert.deepEqual(forms, [pages]);
      assert.deepEqual((json as { expanded: object }).expanded, [
        { directory: path, files: 1, bytes: 12288 },
      ]);
    });
  });

  it('is refused before an engine is started where zstd is missing', async () => {
    await withFilesDuring(withManifest(smallDump()), async (path) => {
      await compressDump(path, path, signal);
      const look = (): Promise<void> =>
        verifyFirst({ own: { noVerify: false }, options: {} } as unknown as Invocation, path);
      await look();
      assert.match(
        await withoutZstd(() => refusal(look())),
        /^3\nRESTORE refused: pages-1\.img\.zst is compressed, and zstd is not installed\nTo restore them: install zstd\n/,
      );
    });
  });

  it('is refused, and loses nothing, where they are broken or zstd is missing', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await compressDump(path, path, signal);
      assert.match(
        await withoutZstd(() => refusal(expandChain(path, path, signal))),
        /^1\nRESTORE failed in \S+: zstd is not installed\nInstall zstd/,
      );
      const bytes = readFileSync(join(path, packed));
      bytes[bytes.length - 1]! ^= 1;
      writeFileSync(join(path, packed), bytes);
      assert.match(
        await refusal(expandChain(path, path, signal)),
        /^1\nRESTORE failed in \S+: zstd has failed: /,
      );
      assert.deepEqual(formsIn(path), [packed]);
    });
  });

  it('needs no zstd where a killed criuctl has left an image in both forms', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      await compressDump(path, path, signal);
      writeFileSync(join(path, pages), smallDump()[pages]!);
      await withoutZstd(async () => assert.deepEqual(await expandChain(path, path, signal), []));
      assert.deepEqual(formsIn(path), [pages, packed]);
    });
  });
});

describe('criuctl dump --compress', () => {
  before(function () {
    needsZstd(this);
  });

  /** A dump of a process that runs on, as CRIU would write it. */
  async function dumpInto(path: string, ...more: string[]): Promise<Outcome> {
    const dump = async ({ imagesDir }: { imagesDir: number | string }): Promise<object> => {
      const place = typeof imagesDir === 'number' ? `/proc/self/fd/${imagesDir}` : imagesDir;
      for (const [name, bytes] of Object.entries(withManifest(smallDump())))
        writeFileSync(join(place, name), bytes);
      return { restored: false };
    };
    const sleeping = spawn('/bin/sleep', ['1000'], { stdio: 'ignore' });
    try {
      const words = ['dump', `${sleeping.pid}`, '-D', path, '--compress', '--leave-running', ...more];
      return await dumped(asking(words, { dump }));
    } finally {
      sleeping.kill();
    }
  }

  it('compresses the pages when the dump is complete, also in the place of an earlier dump', async () => {
    await withFilesDuring({}, async (place) => {
      const path = join(place, 'images');
      for (const more of [[], ['--replace']]) {
        const { json, warnings } = await dumpInto(path, ...more);
        assert.deepEqual(warnings, []);
        assert.deepEqual(formsIn(path), [packed]);
        const { files, bytes } = (json as { compressed: { files: number; bytes: number } }).compressed;
        assert.deepEqual([files, bytes], [1, 12288]);
      }
      assert.deepEqual(readdirSync(place), ['images']);
    });
  });

  it('warns where the pages cannot be compressed, and has a complete dump', async () => {
    await withFilesDuring({}, async (place) => {
      const path = join(place, 'images');
      const { warnings } = await withoutZstd(() => dumpInto(path));
      assert.match(
        warnings!.join(),
        /^the images are complete, and not all are compressed: .*: zstd is not installed; criuctl images compress \S+ does it later$/,
      );
      assert.deepEqual(formsIn(path), [pages]);
    });
  });

  it('is refused while the images before are compressed, and leaves no image', async () => {
    await withFilesDuring({}, async (place) => {
      await dumpInto(join(place, '1'));
      const path = join(place, '2');
      const failure = await dumpInto(path, '--prev-images-dir', '../1').catch((error) => error);
      assert.ok(isObstacle(failure), String(failure));
      assert.equal(failure.message, 'DUMP refused: the images before are compressed, and CRIU reads them');
      assert.deepEqual(failure.advice, [`Expand them first: criuctl images expand ${join(place, '1')}`]);
      assert.deepEqual(formsIn(path), []);
    });
  });
});

describe('a directory with compressed images', () => {
  it('holds an earlier dump for the next, also if nothing else is left of it', async () => {
    await withFilesDuring({ [packed]: Buffer.from('pages') }, async (path) => {
      const dump = {
        verb: 'dump',
        options: { imagesDir: path, pid: process.pid },
        own: {},
      } as unknown as Invocation;
      assert.throws(
        () => destinationOf(dump, 'dump.log').requireUnused(),
        /DUMP refused: \S+ holds images of/,
      );
      assert.deepEqual(formsIn(path), [packed]);
    });
  });
});
