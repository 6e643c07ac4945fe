import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tableOf } from '../../../src/cli/images/show-words.ts';
import { type Contents, contentsOf } from '../../../src/images/contents.ts';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { core, fown, pageSize, regular, smallDump } from './support/dump.ts';
import { image, withFiles } from './support/encode.ts';

function contents(
  files: Record<string, Uint8Array>,
  prepare: (path: string) => void = () => undefined,
): Contents {
  return withFiles(files, (path) => {
    prepare(path);
    const directory = new ImageDirectory(path);
    try {
      return contentsOf(directory);
    } finally {
      directory.close();
    }
  });
}

const words = (shown: Contents): string => tableOf(shown, undefined, (uid) => `user ${uid}`);

describe('the contents of a directory of images', () => {
  it('tell the tree, with the command line out of the pages, memory and descriptors', () => {
    const shown = contents(smallDump());
    assert.equal(shown.is, 'dump');
    assert.equal(shown.architecture, 'x86_64');
    const [task] = shown.tasks;
    assert.deepEqual(task, {
      pid: 7,
      ppid: 0,
      pgid: 7,
      sid: 7,
      threads: [7, 8],
      name: 'sleep',
      state: 'running',
      uid: 0,
      executable: '/bin/sleep',
      commandLine: ['sleep', '1000'],
      memory: { mapped: 4 * pageSize, here: 3 * pageSize, inParents: 0, lazy: 0 },
      descriptors: 1,
    });
    assert.deepEqual(shown.faults, []);
    assert.match(words(shown), /^7 +user 0 +2 +12\.0 KiB +0 bytes +1 +sleep 1000$/m);
  });

  it('tell pages in parents, and the chain with its sizes', () => {
    const child = {
      ...smallDump(),
      'pagemap-7.img': image(
        'PAGEMAP',
        { pages_id: 1 },
        { vaddr: 0x10000, compat_nr_pages: 1, flags: 4 },
        { vaddr: 0x11000, compat_nr_pages: 2, in_parent: true },
        { vaddr: 0x13000, compat_nr_pages: 1, flags: 2, nr_pages: 5 },
      ),
    };
    const shown = contents(child, (path) => {
      mkdirSync(join(path, 'before'));
      writeFileSync(join(path, 'before', 'pages-1.img'), Buffer.alloc(8192));
      symlinkSync('before', join(path, 'parent'));
    });
    const { here, inParents, lazy } = shown.tasks[0]!.memory;
    assert.deepEqual([here, inParents, lazy], [pageSize, 2 * pageSize, 5 * pageSize]);
    assert.equal(shown.parents.length, 1);
    assert.equal(shown.parents[0]!.bytes, 8192);
  });

  it('name a circle of parents, and a parent that is gone', () => {
    const circle = contents(smallDump(), (path) => symlinkSync('.', join(path, 'parent')));
    assert.deepEqual(circle.faults, [
      { file: 'parent', offset: undefined, why: 'leads round in a circle', is: 'broken' },
    ]);
    const gone = contents(smallDump(), (path) => symlinkSync('../gone-away', join(path, 'parent')));
    assert.match(gone.faults[0]!.why, /^leads to \.\.\/gone-away, where no directory is$/);
  });

  it('tell sockets, terminals and deleted files, and the options that their restore needs', () => {
    const sk = {
      flags: 0,
      backlog: 1,
      fown,
      opts: {
        so_sndbuf: 0,
        so_rcvbuf: 0,
        so_snd_tmo_sec: 0,
        so_snd_tmo_usec: 0,
        so_rcv_tmo_sec: 0,
        so_rcv_tmo_usec: 0,
      },
    };
    const tcp = { ...sk, ino: 5, proto: 6, type: 1, dst_port: 0 };
    const shown = contents({
      ...smallDump(),
      'files.img': image(
        'FILES',
        regular(1, '/bin/sleep'),
        {
          type: 'INETSK',
          id: 5,
          isk: { ...tcp, id: 5, family: 2, state: 10, src_port: 80, src_addr: [0x0100007f], dst_addr: [0] },
        },
        {
          type: 'INETSK',
          id: 6,
          isk: {
            ...tcp,
            id: 6,
            family: 10,
            state: 1,
            src_port: 81,
            src_addr: [0, 0, 0, 0x01000000],
            dst_addr: [0, 0, 0, 0x01000000],
            dst_port: 9,
          },
        },
        {
          type: 'UNIXSK',
          id: 7,
          usk: { ...sk, id: 7, ino: 1, type: 1, state: 1, uflags: 1, peer: 0, name: Buffer.from('/run/x\0') },
        },
      ),
      'tty-info.img': image('TTY_INFO', {
        id: 0,
        type: 'PTY',
        locked: false,
        exclusive: false,
        packet_mode: false,
        sid: 5,
        pgrp: 5,
        rdev: 34816,
        pty: { index: 3 },
      }),
      'remap-fpath.img': image('REMAP_FPATH', { orig_id: 1, remap_id: 1, remap_type: 'GHOST' }),
      'filelocks.img': image('FILE_LOCKS', { flag: 1, type: 1, pid: 7, fd: 3, start: 0, len: 0 }),
    });
    assert.deepEqual(shown.faults, []);
    const { internet, unix, terminals, ghosts, counts } = shown.files;
    assert.deepEqual(
      internet.items.map(({ protocol, state, local, remote }) => [protocol, state, local, remote]),
      [
        ['TCP', 'listening', '127.0.0.1:80', '0.0.0.0:0'],
        ['TCP', 'connected', '[::1]:81', '[::1]:9'],
      ],
    );
    assert.deepEqual(unix.items, [{ name: '/run/x', external: true }]);
    assert.deepEqual(terminals.items, [{ kind: 'pty', index: 3, session: 5 }]);
    assert.equal(ghosts, 1);
    assert.deepEqual(counts, { regular: 1, internet: 2, unix: 1 });
    assert.deepEqual(shown.needs, ['--shell-job', '--tcp-established', '--ext-unix-sk', '--file-locks']);
  });

  it('need no option for a terminal whose session is in the tree', () => {
    const shown = contents({
      ...smallDump(),
      'tty-info.img': image('TTY_INFO', {
        id: 0,
        type: 'PTY',
        locked: false,
        exclusive: false,
        packet_mode: false,
        sid: 7,
        pgrp: 7,
        rdev: 34816,
      }),
    });
    assert.deepEqual(shown.needs, []);
  });

  it('tell a directory without an inventory from a dump, and memory without a tree', () => {
    const { 'inventory.img': inventory, 'pstree.img': _tree, ...rest } = smallDump();
    assert.equal(contents(rest).is, 'incomplete');
    assert.equal(contents({ 'inventory.img': inventory! }).is, 'pre-dump');
    assert.match(words(contents({})), /no finished dump/);
  });

  it('show the rest of a dump when an image is broken, and name the fault', () => {
    const shown = contents({ ...smallDump(), 'core-7.img': Buffer.from('nonsense') });
    assert.equal(shown.tasks[0]!.name, undefined);
    assert.equal(shown.tasks[0]!.memory.here, 3 * pageSize);
    assert.match(words(shown), /core-7\.img at byte 0 is no image that is known here/);
    const swapped = contents({ ...smallDump(), 'core-7.img': smallDump()['mm-7.img']! });
    assert.match(swapped.faults[0]!.why, /is a MM image where a CORE image belongs/);
  });

  it('have no control characters of an image in the words for people', () => {
    const evil = {
      ...smallDump(),
      'pages-1.img': Buffer.alloc(100),
      'core-7.img': image('CORE', core('\x1b[2J')),
    };
    const files = image('FILES', regular(1, '/bin/\x1b]0;x\x07'));
    const shown = words(contents({ ...evil, 'files.img': files }));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    assert.doesNotMatch(shown, /[\x00-\x09\x0b-\x1f\x7f]/);
  });
});
