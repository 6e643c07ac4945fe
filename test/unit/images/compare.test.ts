/** The difference of two dumps, and the sizes of a chain. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { differenceInWords } from '../../../src/cli/images/compare-words.ts';
import { sizesInWords } from '../../../src/cli/images/size-words.ts';
import { compare, type Difference } from '../../../src/images/compare.ts';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { chainSizes } from '../../../src/images/sizes.ts';
import { core, fown, mapping, pageSize, regular, smallDump, space } from './support/dump.ts';
import { type Fields, image, openBelow, withFiles } from './support/encode.ts';

type Files = Readonly<Record<string, Uint8Array>>;

const here = (vaddr: number, pages: number): Fields => ({ vaddr, compat_nr_pages: pages, flags: 4 });
const inParent = (vaddr: number, pages: number): Fields => ({ vaddr, compat_nr_pages: pages, flags: 1 });
const pagemap = (...entries: readonly Fields[]): Buffer => image('PAGEMAP', { pages_id: 1 }, ...entries);

/** Pages whose bytes all have these values. */
const pages = (...values: readonly number[]): Buffer =>
  Buffer.concat(values.map((value) => Buffer.alloc(pageSize, value)));

/** @param parent of the second, relative to it. */
function difference(first: Files, second: Files, parent?: string, more: Files = {}): Difference {
  return withFiles({}, (place) => {
    for (const [name, files] of Object.entries({ first, second, more })) {
      mkdirSync(join(place, name));
      for (const [file, bytes] of Object.entries(files)) writeFileSync(join(place, name, file), bytes);
    }
    if (parent !== undefined) symlinkSync(parent, join(place, 'second', 'parent'));
    const [a, b] = [new ImageDirectory(join(place, 'first')), new ImageDirectory(join(place, 'second'))];
    try {
      return compare(a, b);
    } finally {
      a.close();
      b.close();
      assert.deepEqual(openBelow('images-'), []);
    }
  });
}

const memoryOf = ({ tasks }: Difference): object => tasks[0]!.memory;
const counts = (more: object): object => ({ changed: 0, same: 0, added: 0, removed: 0, unknown: 0, ...more });

/** Memory of process 7. */
const memory = (map: Buffer, bytes: Buffer, vmas: readonly Fields[] = [mapping(0x10000, 8)]): Files => ({
  ...smallDump(),
  'mm-7.img': image('MM', space({ vmas })),
  'pagemap-7.img': map,
  'pages-1.img': bytes,
});

describe('two dumps', () => {
  it('of the same images have no difference', () => {
    const found = difference(smallDump(), smallDump());
    assert.deepEqual(memoryOf(found), counts({ same: 3 * pageSize }));
    assert.deepEqual(
      [found.tasks[0]!.changes, found.files.items, found.sockets.items, found.faults],
      [[], [], [], []],
    );
    assert.match(differenceInWords(found), /1 task without a difference$/);
  });

  it('differ in pages that are changed, added and removed, wherever their runs begin', () => {
    const found = difference(
      memory(pagemap(here(0x10000, 3), here(0x14000, 1)), pages(1, 2, 3, 4)),
      memory(pagemap(here(0x11000, 1), here(0x12000, 3)), pages(2, 9, 5, 4)),
    );
    assert.deepEqual(
      memoryOf(found),
      counts({ removed: pageSize, same: 2 * pageSize, changed: pageSize, added: pageSize }),
    );
    assert.deepEqual(found.tasks[0]!.mappings.items, [
      {
        from: '10000',
        to: '18000',
        name: 'private memory',
        is: 'in both',
        bytes: counts({ removed: pageSize, same: 2 * pageSize, changed: pageSize, added: pageSize }),
      },
    ]);
  });

  it('have the pages of an incremental dump where its parents have them, and those of the same file are not read', () => {
    const base = memory(pagemap(here(0x10000, 4)), pages(1, 2, 3, 4));
    const increment = memory(pagemap(inParent(0x10000, 1), here(0x11000, 1), inParent(0x12000, 2)), pages(9));
    const expected = counts({ same: 3 * pageSize, changed: pageSize });
    assert.deepEqual(memoryOf(difference(base, increment, '../first')), expected);
    assert.deepEqual(memoryOf(difference(base, increment, '../more', base)), expected);
  });

  it('have unknown pages where the chain ends, or a parent lacks them', () => {
    const base = memory(pagemap(here(0x10000, 4)), pages(1, 2, 3, 4));
    const increment = memory(pagemap(inParent(0x10000, 4)), pages());
    assert.deepEqual(memoryOf(difference(base, increment)), counts({ unknown: 4 * pageSize }));
    const gap = memory(pagemap(here(0x10000, 1), here(0x13000, 1)), pages(1, 4));
    assert.deepEqual(
      memoryOf(difference(base, increment, '../more', gap)),
      counts({ same: 2 * pageSize, unknown: 2 * pageSize }),
    );
  });

  it('differ by mapping, with the names of files, also where a run of pages spans two mappings', () => {
    const first = [
      mapping(0x10000, 1, { status: 1 | 64, shmid: 1 }),
      mapping(0x11000, 1, { status: 1 | 32 }),
    ];
    const second = [...first, mapping(0x12000, 2)];
    const found = difference(
      memory(pagemap(here(0x10000, 2)), pages(1, 2), first),
      memory(pagemap(here(0x10000, 4)), pages(8, 9, 3, 4), second),
    );
    assert.deepEqual(
      found.tasks[0]!.mappings.items.map(({ name, is, bytes }) => [name, is, bytes.changed, bytes.added]),
      [
        ['/bin/sleep', 'in both', pageSize, 0],
        ['[heap]', 'in both', pageSize, 0],
        ['private memory', 'added', 0, 2 * pageSize],
      ],
    );
  });

  it('differ in shared memory, whatever numbers it has', () => {
    const shared = (shmid: number, value: number): Files => ({
      ...memory(pagemap(), pages(), [mapping(0x10000, 2, { status: 1 | 256, shmid })]),
      [`pagemap-shmem-${shmid}.img`]: image('PAGEMAP', { pages_id: 2 }, here(0, 2)),
      'pages-2.img': pages(1, value),
    });
    const found = difference(shared(5, 2), shared(6, 3));
    assert.deepEqual(memoryOf(found), counts({ same: pageSize, changed: pageSize }));
    assert.equal(found.tasks[0]!.mappings.items[0]!.name, 'shared memory');
  });

  it('differ in their tree, and in facts about a task', () => {
    const child = { pid: 9, ppid: 7, pgid: 7, sid: 7, threads: [9] };
    const found = difference(smallDump(), {
      ...smallDump(),
      'pstree.img': image('PSTREE', { pid: 7, ppid: 0, pgid: 7, sid: 7, threads: [7] }, child),
      'core-7.img': image('CORE', core('renamed')),
      'core-9.img': image('CORE', core('child')),
    });
    assert.deepEqual(
      found.tasks.map(({ pid, is, changes }) => [pid, is, changes]),
      [
        [7, 'in both', ['name renamed instead of sleep', 'number of threads 1 instead of 2']],
        [9, 'added', []],
      ],
    );
    assert.match(differenceInWords(found), /^9 child \(added\): no memory$/m);
  });

  it('differ in open files by path, size and position, and in sockets', () => {
    const sizes = {
      so_sndbuf: 0,
      so_rcvbuf: 0,
      so_snd_tmo_sec: 0,
      so_snd_tmo_usec: 0,
      so_rcv_tmo_sec: 0,
      so_rcv_tmo_usec: 0,
    };
    const socket = { ino: 1, type: 1, state: 1, flags: 0, backlog: 0, fown, opts: sizes, uflags: 0, peer: 0 };
    const unix = (id: number, name: string): Fields => ({
      type: 'UNIXSK',
      id,
      usk: { ...socket, id, name: Buffer.from(name) },
    });
    const files = (...entries: readonly Fields[]): Files => ({
      ...smallDump(),
      'files.img': image('FILES', regular(1, '/bin/sleep'), ...entries),
    });
    const found = difference(
      files(regular(2, '/log'), regular(5, '/gone'), unix(6, '/run/a')),
      files(regular(2, '/log', { size: 12, pos: 12 }), regular(5, '/new\u001b[2J'), unix(6, '/run/b')),
    );
    assert.deepEqual(found.files.items, [
      { path: '/log', is: '12 bytes instead of 10, at byte 12 instead of 0' },
      { path: '/new\u001b[2J', is: 'added' },
      { path: '/gone', is: 'removed' },
    ]);
    assert.deepEqual(found.sockets.items, [
      { name: 'Unix socket /run/a', is: 'removed' },
      { name: 'Unix socket /run/b', is: 'added' },
    ]);
    assert.ok(!differenceInWords(found).includes('\u001b'));
  });

  const hostile: Readonly<Record<string, readonly [Files, RegExp]>> = {
    'more pages than bytes': [
      memory(pagemap(here(0x10000, 2 ** 31)), pages(1)),
      /pages-1\.img .*fewer pages/,
    ],
    'addresses that descend': [
      memory(pagemap(here(0x20000, 1), here(0x10000, 1)), pages(1, 2)),
      /order of addresses/,
    ],
    'addresses within a page': [memory(pagemap(here(0x10001, 1)), pages(1)), /address that no page has/],
    'addresses at the end of all': [memory(pagemap(here(2 ** 62, 1)), pages(1)), /address that no page has/],
    'no pages image': [memory(pagemap(here(0x10000, 1)), pages(1)), /pages-1\.img is missing/],
    'runs of a later CRIU': [
      memory(pagemap({ ...here(0x10000, 1), flags: 4 | 64 }), pages(1)),
      /unknown here/,
    ],
  };
  for (const [what, [files, why]] of Object.entries(hostile)) {
    it(`have a fault in a pagemap with ${what}, and an end`, () => {
      const { 'pages-1.img': bytes, ...rest } = files;
      const found = difference(smallDump(), what === 'no pages image' ? rest : files);
      assert.match(found.faults.map(({ file, why: each }) => `${file} ${each}`).join('\n'), why);
    });
  }

  it('in a circle of parents have an end', () => {
    const increment = memory(pagemap(inParent(0x10000, 4)), pages());
    const found = difference(smallDump(), increment, '.');
    assert.match(found.faults.map(({ why }) => why).join(), /circle|more than/);
  });
});

describe('the sizes of images', () => {
  it('are told for each directory of the chain, pages by themselves, with the memory that is in the parents', () => {
    withFiles(memory(pagemap(here(0x10000, 1), inParent(0x11000, 3)), pages(1)), (path) => {
      const parent = join(path, 'before');
      mkdirSync(parent);
      for (const [name, bytes] of Object.entries(smallDump())) writeFileSync(join(parent, name), bytes);
      symlinkSync('before', join(path, 'parent'));
      const directory = new ImageDirectory(path);
      const sizes = chainSizes(directory);
      directory.close();
      assert.deepEqual(
        sizes.directories.map(({ files, pages, inParents }) => [files, pages.bytes, inParents]),
        [
          [Object.keys(smallDump()).length, pageSize, 3 * pageSize],
          [Object.keys(smallDump()).length, 3 * pageSize, 0],
        ],
      );
      assert.deepEqual(sizes.faults, []);
      assert.match(sizesInWords(sizes), new RegExp(`^${2 * Object.keys(smallDump()).length} files, `, 'm'));
    });
  });
});
