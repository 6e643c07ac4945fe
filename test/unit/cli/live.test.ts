/** Live dumps: pre-dumps in rounds, then the dump. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCommandLine } from '../../../src/cli/command-line.ts';
import { destinationOf } from '../../../src/cli/destination.ts';
import { explain } from '../../../src/cli/explain.ts';
import type { Invocation } from '../../../src/cli/invocation.ts';
import { dumpLive, pays } from '../../../src/cli/live.ts';
import type { Verb } from '../../../src/cli/options/row.ts';
import type { CriuClient } from '../../../src/client/client.ts';
import type { DumpOptions } from '../../../src/client/options.ts';
import { preDumpRounds } from '../../../src/client/pre-dump.ts';
import { ReqType } from '../../../src/protocol/messages.ts';

const MiB = 1 << 20;

describe('another round of a live dump', () => {
  for (const [sizes, most, expected] of [
    [[100 * MiB], 5, true],
    [[100 * MiB, 20 * MiB], 5, true],
    [[100 * MiB, 20 * MiB, 20 * MiB], 5, false],
    [[100 * MiB, 120 * MiB], 5, false],
    [[100 * MiB, MiB], 5, false],
    [[MiB / 2], 5, false],
    [[100 * MiB], 1, false],
    [[100 * MiB, 50 * MiB, 25 * MiB], 3, false],
  ] as const) {
    it(`${expected ? 'pays' : 'does not pay'} after ${sizes.map((size) => size / MiB).join(', ')} MiB with a limit of ${most}`, () => {
      assert.equal(pays(sizes, most), expected);
    });
  }
});

describe('a live dump', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criuctl-live-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** A service that leaves as many bytes of pages in each round. */
  function invocation(
    more: readonly string[],
    sizes: readonly number[],
    asked: [string, DumpOptions][],
  ): Invocation {
    const words = process.geteuid?.() === 0 ? ['--trust-images'] : [];
    const parsed = parseCommandLine(['dump', `${process.pid}`, '-D', directory, '--live', ...more, ...words]);
    assert.ok('verb' in parsed);
    const client = {
      preDump: (first: DumpOptions) =>
        preDumpRounds(first, {
          connect: async () => ({ close: () => {} }) as never,
          ask: async (_connection, type, options) => {
            asked.push([ReqType[type]!, options]);
            if (type === ReqType.PRE_DUMP)
              writeFileSync(
                join(options.imagesDir as string, 'pages-1.img'),
                Buffer.alloc(sizes[asked.length - 1]!),
              );
            return { type, success: true };
          },
          listed: async (result) => result,
        }),
    } as unknown;
    return {
      ...parsed,
      verb: parsed.verb as Verb,
      signal: new AbortController().signal,
      watched: false,
      client: () => client as CriuClient,
    };
  }

  it('has each round in a directory below its own, with the round before as its parent', async () => {
    const asked: [string, DumpOptions][] = [];
    const sizes = [8 * MiB, 2 * MiB, MiB / 2];
    const places = { images: directory, work: directory };
    const request = { pid: 1, imagesDir: directory, parentImg: 'earlier', logFile: 'dump.log' };
    const { rounds } = await dumpLive(invocation([], sizes, asked), places, request, 5);
    assert.deepEqual(
      asked.map(([type, { imagesDir, parentImg, trackMem }]) => [type, imagesDir, parentImg, trackMem]),
      [
        ['PRE_DUMP', join(directory, 'round-1'), '../earlier', true],
        ['PRE_DUMP', join(directory, 'round-2'), '../round-1', true],
        ['PRE_DUMP', join(directory, 'round-3'), '../round-2', true],
        ['DUMP', directory, 'round-3', true],
      ],
    );
    assert.deepEqual(
      rounds.map(({ name, bytes }) => [name, bytes]),
      sizes.map((bytes, index) => [`round-${index + 1}`, bytes]),
    );
    assert.equal(statSync(join(directory, 'round-1')).mode & 0o777, 0o700);
  });

  /** The dump into a directory that another one has used since it was examined. */
  async function failure(): Promise<{ exitCode: number; message: string; advice: readonly string[] }> {
    const invoked = invocation([], [], []);
    const destination = destinationOf(invoked, 'dump.log');
    destination.requireUnused();
    mkdirSync(join(directory, 'round-1'));
    writeFileSync(join(directory, 'round-1', 'pages-1.img'), 'old');
    const request = { pid: process.pid, imagesDir: directory, logFile: 'dump.log' };
    const error = await dumpLive(invoked, destination.places, request, 5).then(
      () => assert.fail('the dump succeeded'),
      (thrown: unknown) => destination.failed(thrown),
    );
    return explain(error, invoked);
  }

  it('is refused as a plain dump is if its first round is there already, and that round stays', async () => {
    const { exitCode, message, advice } = await failure();
    assert.equal(exitCode, 3);
    assert.match(message, /^DUMP refused: .* holds images of a dump that did not finish, and two dumps/);
    assert.match(advice.join('\n'), /--replace/);
    assert.equal(readFileSync(join(directory, 'round-1', 'pages-1.img'), 'utf8'), 'old');
  });

  it('is refused with a sentence where its first round cannot be made', async () => {
    const invoked = invocation([], [], []);
    const missing = join(directory, 'missing');
    const request = { pid: process.pid, imagesDir: missing, logFile: 'dump.log' };
    const places = { images: missing, work: missing };
    const error = await dumpLive(invoked, places, request, 5).catch((thrown: unknown) => thrown);
    const { code, message } = await explain(error, invoked);
    assert.equal(code, 'OBSTACLE');
    assert.match(message, /round-1 cannot be made: ENOENT/);
  });

  it('writes beside a directory that was used, with --replace', async () => {
    mkdirSync(join(directory, 'round-1'));
    for (const name of ['inventory.img', 'round-1/pages-1.img']) writeFileSync(join(directory, name), 'old');
    const asked: [string, DumpOptions][] = [];
    const invoked = invocation(['--replace'], [1], asked);
    const destination = destinationOf(invoked, 'dump.log');
    destination.requireUnused();
    const { images } = destination.places;
    assert.notEqual(images, directory);
    await dumpLive(
      invoked,
      destination.places,
      { pid: process.pid, imagesDir: images, logFile: 'dump.log' },
      5,
    );
    assert.equal(readFileSync(join(directory, 'round-1', 'pages-1.img'), 'utf8'), 'old');
    destination.complete();
    assert.equal(readFileSync(join(directory, 'round-1', 'pages-1.img')).length, 1);
    assert.deepEqual(readdirSync(directory), ['round-1']);
  });
});
