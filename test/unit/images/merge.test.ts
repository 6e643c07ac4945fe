/** A chain of dumps in one directory. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { readManifest } from '../../../src/images/manifest/read-manifest.ts';
import { type Merged, merge, UnmergeableError } from '../../../src/images/merge.ts';
import { Reading } from '../../../src/images/reading.ts';
import { readPagemap } from '../../../src/images/task-images.ts';
import { verify } from '../../../src/images/verify.ts';
import { random } from '../../support/random.ts';
import { mapping, pageSize, smallDump, space } from './support/dump.ts';
import { type Fields, image, openBelow, withFilesDuring } from './support/encode.ts';
import { withManifest } from './support/manifest.ts';

type Files = Readonly<Record<string, Uint8Array>>;
type Page = { readonly address: number; readonly bytes: Buffer };

const rights = { uid: 1000, gid: 1000, groups: [1000] };
const start = 0x10000;
const mostPages = 64;

const entry = (vaddr: number, pages: number, flags: number): Fields => ({
  vaddr,
  compat_nr_pages: pages,
  flags,
});
const [parentFlag, lazyFlag, presentFlag] = [1, 2, 4];

/** Writes directories 0, 1, ...; the parent of each is the directory before. Uses the last. */
async function withChain(
  dumps: readonly Files[],
  use: (last: string, place: string) => Promise<void>,
): Promise<void> {
  await withFilesDuring({}, async (place) => {
    for (const [index, files] of dumps.entries()) {
      mkdirSync(join(place, `${index}`));
      for (const [name, bytes] of Object.entries(files)) writeFileSync(join(place, `${index}`, name), bytes);
      if (index > 0) symlinkSync(`../${index - 1}`, join(place, `${index}`, 'parent'));
    }
    await use(join(place, `${dumps.length - 1}`), place);
    assert.deepEqual(openBelow('images-'), []);
    assert.deepEqual(
      readdirSync(place).filter((name) => name.startsWith('.')),
      [],
    );
  });
}

const mappings = image('MM', space({ vmas: [mapping(start, mostPages)] }));
const whole = (map: Buffer, pages: Buffer): Files => ({
  ...smallDump(),
  'mm-7.img': mappings,
  'pagemap-7.img': map,
  'pages-1.img': pages,
});

/** The pages of a directory that needs no parent, and the number of entries in its pagemap. */
function pagesIn(directory: string, name = 'pagemap-7.img'): { pages: Page[]; entries: number } {
  const opened = new ImageDirectory(directory);
  try {
    const reading = new Reading(opened);
    const pages: Page[] = [];
    let bytes: Buffer | undefined;
    const facts = readPagemap(reading, name, (run, before) => {
      assert.equal(run.place, 'here');
      bytes ??= readFileSync(join(directory, `pages-1.img`));
      for (let page = 0; page < run.pages; page++) {
        const from = (before + page) * pageSize;
        pages.push({ address: run.address + page * pageSize, bytes: bytes.subarray(from, from + pageSize) });
      }
    });
    assert.deepEqual(reading.faults, []);
    assert.ok(typeof facts !== 'string');
    assert.equal(statSync(join(directory, `pages-${facts.pagesId}.img`)).size, facts.here * pageSize);
    return { pages, entries: facts.runs };
  } finally {
    opened.close();
  }
}

function verdictOf(directory: string): string {
  const opened = new ImageDirectory(directory);
  try {
    return verify(opened, rights, undefined).verdict;
  } finally {
    opened.close();
  }
}

/** A chain of dumps of a memory that changes at random, and the memory at the last of them. */
function chainOf(seed: number): { readonly dumps: readonly Files[]; readonly memory: readonly Page[] } {
  const next = random(seed);
  const memory = new Map<number, Buffer>();
  const dumps: Files[] = [];
  const levels = 1 + Math.floor(next() * 5);
  for (let level = 0; level < levels; level++) {
    const changed = new Set<number>();
    for (let page = 0; page < mostPages; page++) {
      const choice = next();
      if (choice < 0.1) memory.delete(page);
      else if (choice < 0.5) {
        // Some pages are zero; such a page may be a hole.
        memory.set(page, Buffer.alloc(pageSize, next() < 0.2 ? 0 : 1 + Math.floor(next() * 255)));
        changed.add(page);
      }
    }
    const entries: Fields[] = [];
    const pages: Buffer[] = [];
    for (let page = 0; page < mostPages; ) {
      const bytes = memory.get(page);
      const flags = !bytes ? 0 : level === 0 || changed.has(page) ? presentFlag : parentFlag;
      let count = 0;
      // Runs end anywhere.
      do {
        if (flags === presentFlag) pages.push(memory.get(page + count)!);
        count += 1;
        const other = memory.get(page + count);
        if (page + count >= mostPages || !bytes || !other) break;
        if ((level === 0 || changed.has(page + count) ? presentFlag : parentFlag) !== flags) break;
      } while (next() < 0.8);
      if (flags !== 0) entries.push(entry(start + page * pageSize, count, flags));
      page += count;
    }
    dumps.push(whole(image('PAGEMAP', { pages_id: 1 }, ...entries), Buffer.concat(pages)));
  }
  const last = [...memory].sort(([one], [other]) => one - other);
  return { dumps, memory: last.map(([page, bytes]) => ({ address: start + page * pageSize, bytes })) };
}

describe('a merged chain of dumps', () => {
  it('has byte for byte the pages of a full dump for any chain, and needs no parent', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { dumps, memory } = chainOf(seed);
      await withChain(dumps, async (last, place) => {
        const to = join(place, 'merged');
        const { merged, memory: told } = await merge(last, to, rights);
        assert.equal(merged, dumps.length);
        assert.equal(told.bytes, memory.length * pageSize);
        const { pages } = pagesIn(to);
        assert.deepEqual(pages, memory, `seed ${seed}`);
        assert.deepEqual(existsSync(join(to, 'parent')), false);
        rmSync(last, { recursive: true });
        assert.equal(verdictOf(to), 'restores');
      });
    }
  });

  it('has a single entry for pages that follow each other, and no bytes on the disk for pages of zeros', async () => {
    const zeros = Buffer.alloc(64 * pageSize);
    const base = whole(image('PAGEMAP', { pages_id: 1 }, entry(start, 64, presentFlag)), zeros);
    const one = Buffer.alloc(pageSize, 1);
    const increment = whole(
      image(
        'PAGEMAP',
        { pages_id: 1 },
        entry(start, 63, parentFlag),
        entry(start + 63 * pageSize, 1, presentFlag),
      ),
      one,
    );
    await withChain([base, increment], async (last, place) => {
      const to = join(place, 'merged');
      const { memory }: Merged = await merge(last, to, rights);
      assert.deepEqual(memory, { bytes: 64 * pageSize, fromParents: 63 * pageSize });
      assert.equal(pagesIn(to).entries, 1);
      assert.deepEqual(readFileSync(join(to, 'pages-1.img')), Buffer.concat([zeros.subarray(pageSize), one]));
      assert.ok(statSync(join(to, 'pages-1.img')).blocks * 512 <= 2 * pageSize);
    });
  });

  it('has all other images as they were, for its user alone, and a manifest with the facts of the dump', async () => {
    const files = { ...smallDump(), 'tty-info.img': image('TTY_INFO') };
    await withChain([smallDump(), withManifest(files)], async (last, place) => {
      const to = join(place, 'merged');
      const before = readManifest(last)!;
      await merge(last, to, rights, { digestPages: true });
      for (const name of Object.keys(files).filter((each) => each.endsWith('.img') && !/^page/.test(each)))
        assert.deepEqual(readFileSync(join(to, name)), readFileSync(join(last, name)), name);
      for (const name of readdirSync(to)) assert.equal(statSync(join(to, name)).mode & 0o777, 0o600, name);
      assert.equal(statSync(to).mode & 0o777, 0o700);
      const manifest = readManifest(to)!;
      for (const member of ['written', 'machine', 'user', 'clocks', 'criu', 'restoreWith'] as const)
        assert.deepEqual(manifest[member], before[member], member);
      assert.ok(manifest.files.every(({ sha256 }) => sha256 !== undefined));
      assert.equal(verdictOf(to), 'restores');
    });
  });

  it('keeps pages that are left to the program', async () => {
    const map = image(
      'PAGEMAP',
      { pages_id: 1 },
      entry(start, 1, presentFlag),
      entry(start + pageSize, 2, lazyFlag),
    );
    await withChain([whole(map, Buffer.alloc(pageSize, 1))], async (last, place) => {
      await merge(last, join(place, 'merged'), rights);
      assert.deepEqual(readFileSync(join(place, 'merged', 'pagemap-7.img')), map);
    });
  });

  const present = image('PAGEMAP', { pages_id: 1 }, entry(start, 2, presentFlag));
  const left = image('PAGEMAP', { pages_id: 1 }, entry(start, 3, parentFlag));
  const two = Buffer.alloc(2 * pageSize, 1);
  const { 'core-7.img': _, ...withoutCore } = smallDump();
  const refusals: readonly (readonly [what: string, dumps: readonly Files[], why: RegExp])[] = [
    [
      'a page that no parent has',
      [whole(present, two), whole(left, Buffer.alloc(0))],
      /1 pages of pagemap-7/,
    ],
    [
      'a page that a parent two levels up lacks',
      [whole(present, two), whole(left, Buffer.alloc(0)), whole(left, Buffer.alloc(0))],
      /1 pages of pagemap-7/,
    ],
    [
      'pages that a parent leaves to the program',
      [
        whole(image('PAGEMAP', { pages_id: 1 }, entry(start, 3, lazyFlag)), two),
        whole(left, Buffer.alloc(0)),
      ],
      /3 pages of pagemap-7/,
    ],
    ['no parent', [whole(left, Buffer.alloc(0))], /3 pages of pagemap-7/],
    [
      'a parent whose pages are cut off',
      [whole(present, two.subarray(1)), whole(left, Buffer.alloc(0))],
      /pages/,
    ],
    ['a missing image', [withoutCore], /core-7\.img is missing/],
    [
      'two pagemaps of the same pages',
      [{ ...whole(present, two), 'pagemap-shmem-9.img': present }],
      /have the same pages/,
    ],
  ];
  for (const [damage, dumps, why] of refusals) {
    it(`is refused before anything is written: ${damage}`, async () => {
      await withChain(dumps, async (last, place) => {
        await assert.rejects(merge(last, join(place, 'merged'), rights), (error: unknown) => {
          assert.ok(error instanceof UnmergeableError);
          assert.match(error.whys.join('\n'), why);
          return true;
        });
        assert.equal(existsSync(join(place, 'merged')), false);
      });
    });
  }

  it('takes the place of nothing', async () => {
    await withChain([smallDump()], async (last, place) => {
      mkdirSync(join(place, 'merged'));
      await assert.rejects(merge(last, join(place, 'merged'), rights), /merged is there already/);
      assert.deepEqual(readdirSync(join(place, 'merged')), []);
    });
  });
});
