/** Live dumps: pre-dumps in rounds, then the dump. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCommandLine } from '../../../src/cli/command-line.ts';
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

  it('has each round in a directory below its own, with the round before as its parent', async () => {
    const asked: [string, DumpOptions][] = [];
    const sizes = [8 * MiB, 2 * MiB, MiB / 2];
    const words = process.geteuid?.() === 0 ? ['--trust-images'] : [];
    const parsed = parseCommandLine(['dump', '1', '-D', directory, '--live', ...words]);
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
    const invocation: Invocation = {
      ...parsed,
      verb: parsed.verb as Verb,
      signal: new AbortController().signal,
      watched: false,
      client: () => client as CriuClient,
    };
    const places = { images: directory, work: directory };
    const request = { pid: 1, imagesDir: directory, parentImg: 'earlier', logFile: 'dump.log' };
    const { rounds } = await dumpLive(invocation, places, request, 5);
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
});
