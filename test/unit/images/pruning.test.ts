/** Old checkpoints in numbered directories: which are kept, and what is removed. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prune } from '../../../src/images/prune.ts';
import { type Checkpoint, fatesOf } from '../../../src/images/pruning.ts';
import { smallDump } from './support/dump.ts';
import { image, openBelow } from './support/encode.ts';
import { withManifest } from './support/manifest.ts';

describe('the fates of checkpoints', () => {
  const whole = (number: number, ...parents: number[]): Checkpoint => ({ number, is: 'whole', parents });
  const kept = (checkpoints: readonly Checkpoint[], keep: number): number[] =>
    [...fatesOf(checkpoints, keep)]
      .flatMap(([number, fate]) => (fate.kept ? [number] : []))
      .sort((a, b) => a - b);

  const table: readonly (readonly [
    what: string,
    readonly Checkpoint[],
    keep: number,
    kept: readonly number[],
  ])[] = [
    ['none', [], 1, []],
    ['the newest', [whole(1), whole(2), whole(10)], 2, [2, 10]],
    ['all if there are fewer', [whole(1), whole(2)], 5, [1, 2]],
    ['the last whole dump, though none was to be kept', [whole(1), whole(2)], 0, [2]],
    ['the parents of a kept dump', [whole(1), whole(2, 1), whole(3, 2, 1), whole(4)], 2, [1, 2, 3, 4]],
    ['no parents of those that go', [whole(1), whole(2, 1), whole(3), whole(4)], 2, [3, 4]],
    [
      'the last whole dump below incomplete ones, which may be at work',
      [whole(1), whole(2), { number: 3, is: 'incomplete', parents: [] }],
      1,
      [2, 3],
    ],
    [
      'no incomplete dump that is older than a whole dump',
      [{ number: 1, is: 'incomplete', parents: [] }, whole(2)],
      1,
      [2],
    ],
    [
      'a pre-dump that a kept dump needs, and no other',
      [{ number: 1, is: 'pre-dump', parents: [] }, { number: 2, is: 'pre-dump', parents: [] }, whole(3, 2)],
      1,
      [2, 3],
    ],
    [
      'all where no dump is whole',
      [
        { number: 1, is: 'incomplete', parents: [] },
        { number: 2, is: 'pre-dump', parents: [] },
      ],
      1,
      [1, 2],
    ],
    [
      'a directory with a file of another kind',
      [{ number: 1, is: 'foreign', parents: [] }, whole(2), whole(3)],
      1,
      [1, 3],
    ],
    [
      'the parents of what may be at work',
      [whole(1), whole(2), { number: 3, is: 'incomplete', parents: [1] }],
      1,
      [1, 2, 3],
    ],
  ];
  for (const [what, checkpoints, keep, expected] of table)
    it(`keep ${what}`, () => assert.deepEqual(kept(checkpoints, keep), expected));
});

describe('a series of checkpoints', () => {
  let series = '';
  const at = (...names: string[]): string => join(series, ...names);

  beforeEach(() => {
    series = mkdtempSync(join(tmpdir(), 'series-'));
  });
  afterEach(() => {
    assert.deepEqual(openBelow('series-'), []);
    rmSync(series, { recursive: true });
  });

  function fill(
    name: string,
    files: Readonly<Record<string, Uint8Array>> = withManifest(smallDump()),
  ): string {
    mkdirSync(at(name));
    for (const [file, bytes] of Object.entries(files)) writeFileSync(at(name, file), bytes);
    writeFileSync(at(name, 'dump.log'), 'log');
    return at(name);
  }

  const left = (): string[] => readdirSync(series).sort();

  it('loses the older dumps with all their files and rounds, and nothing else in its directory', () => {
    for (const name of ['1', '2', '10', '007', 'notes', '3x']) fill(name);
    mkdirSync(at('1', 'round-1'));
    writeFileSync(at('1', 'round-1', 'pages-1.img'), 'x');
    symlinkSync('../1', at('2', 'parent'));
    symlinkSync(at('notes'), at('4'));
    const dry = prune(series, 1, { dryRun: true });
    assert.deepEqual(left(), ['007', '1', '10', '2', '3x', '4', 'notes']);
    assert.deepEqual(
      dry.checkpoints.map(({ number, fate }) => [number, fate.kept]),
      [
        [1, false],
        [2, false],
        [10, true],
      ],
    );
    assert.deepEqual(prune(series, 1), dry);
    assert.deepEqual(left(), ['007', '10', '3x', '4', 'notes']);
  });

  it('keeps what the parents of a kept dump lead through, also a round of another dump', () => {
    for (const name of ['1', '2', '3', '4', '5']) fill(name);
    mkdirSync(at('2', 'round-1'));
    symlinkSync('../3', at('5', 'parent'));
    symlinkSync('../2/round-1', at('3', 'parent'));
    const { checkpoints } = prune(series, 1);
    assert.deepEqual(left(), ['2', '3', '5']);
    assert.deepEqual(checkpoints[1]!.fate, { kept: true, why: 'parent', of: 5 });
  });

  it('keeps a directory with a file that is not of a dump, a link in the place of an image, or no image at all', () => {
    for (const name of ['1', '2', '3', '4', '5', '6', '7', '8']) fill(name);
    writeFileSync(at('1', 'notes.txt'), 'mine');
    rmSync(at('2', 'core-7.img'));
    symlinkSync(at('1', 'core-7.img'), at('2', 'core-7.img'));
    mkdirSync(at('3', 'round-1'));
    writeFileSync(at('3', 'round-1', 'mine'), 'mine');
    writeFileSync(at('4', 'manifest.json'), '{"name":"web"}');
    rmSync(at('5'), { recursive: true });
    mkdirSync(at('5'));
    // Only their names are like those of a dump.
    writeFileSync(at('6', 'disk.img'), 'a disk of a virtual machine');
    writeFileSync(at('7', 'progress.log'), '10 % done');
    const { checkpoints } = prune(series, 1);
    assert.deepEqual(left(), ['1', '2', '3', '4', '5', '6', '7', '8']);
    assert.deepEqual(
      checkpoints.map(({ foreign }) => foreign),
      [
        'notes.txt',
        'core-7.img',
        'round-1/mine',
        'manifest.json',
        'no image',
        'disk.img',
        'progress.log',
        undefined,
      ],
    );
  });

  it('keeps the last whole dump where the newest are cut off, incomplete or changed', () => {
    const { 'core-8.img': _, ...incomplete } = smallDump();
    const changed = withManifest(smallDump());
    changed['timens-0.img'] = image('TIMENS', {
      monotonic: { tv_sec: 2, tv_nsec: 0 },
      boottime: { tv_sec: 1, tv_nsec: 0 },
    });
    fill('1');
    fill('2');
    fill('3', incomplete);
    fill('4', changed);
    fill('5', { 'pages-1.img': Buffer.alloc(4096) });
    const { checkpoints } = prune(series, 1);
    assert.deepEqual(
      checkpoints.map(({ is }) => is),
      ['whole', 'whole', 'incomplete', 'incomplete', 'incomplete'],
    );
    assert.deepEqual(left(), ['2', '3', '4', '5']);
  });

  it('loses nothing where the parents of a kept dump run in a circle', () => {
    for (const name of ['1', '2', '3']) fill(name);
    symlinkSync('../2', at('3', 'parent'));
    symlinkSync('../3', at('2', 'parent'));
    const { faults } = prune(series, 1);
    assert.match(faults[0]!.why, /circle/);
    assert.deepEqual(left(), ['1', '2', '3']);
  });

  it('is pruned in spite of a dump whose parent is gone already, which is no whole dump', () => {
    for (const name of ['1', '2', '3']) fill(name);
    symlinkSync('../0', at('2', 'parent'));
    symlinkSync('../0', at('3', 'parent'));
    const { faults, checkpoints } = prune(series, 1);
    assert.deepEqual([faults, checkpoints.map(({ is }) => is)], [[], ['whole', 'incomplete', 'incomplete']]);
    assert.deepEqual(left(), ['1', '2', '3']);
  });

  it('is missing with the error of its directory', () => {
    fill('1');
    renameSync(at('1'), at('x'));
    assert.throws(() => prune(at('1'), 1), { code: 'ENOENT' });
    assert.ok(existsSync(at('x', 'core-7.img')));
  });
});
