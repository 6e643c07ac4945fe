import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { buildIdOf } from '../../../src/images/build-id.ts';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import type { Machine } from '../../../src/images/machine.ts';
import type { Circumstances } from '../../../src/images/verdicts.ts';
import { type Verification, verify } from '../../../src/images/verify.ts';
import { core, fown, mapping, pageSize, regular, smallDump, space, threadCore } from './support/dump.ts';
import { type Fields, image, withFiles } from './support/encode.ts';

const me = { uid: process.geteuid!(), gid: process.getegid!(), groups: process.getgroups!() };

function verification(
  files: Record<string, Uint8Array>,
  prepare: (path: string) => void = () => undefined,
  machine?: Machine,
  circumstances: Circumstances = me,
): Verification {
  return withFiles(files, (path) => {
    prepare(path);
    const directory = new ImageDirectory(path);
    try {
      return verify(directory, circumstances, machine);
    } finally {
      directory.close();
    }
  });
}

function reasons(...given: Parameters<typeof verification>): string[] {
  return verification(...given).findings.items.map(
    ({ verdict, why }) => `${verdict === 'does-not-restore' ? 'N' : '?'} ${why}`,
  );
}

/** As another user, or with other options. */
function reasonsOf(files: Record<string, Uint8Array>, circumstances: Circumstances): string[] {
  return reasons(files, undefined, undefined, circumstances);
}

const intact = smallDump();

/** Without these images. */
function without(...names: readonly string[]): Record<string, Uint8Array> {
  return Object.fromEntries(Object.entries(intact).filter(([name]) => !names.includes(name)));
}

const entry = (vaddr: number, pages: number, more: Fields = { flags: 4 }): Fields => ({
  vaddr,
  compat_nr_pages: pages,
  ...more,
});

/** As many pages as are here by these entries. */
function pagesOf(entries: readonly Fields[]): Buffer {
  const here = entries.filter(({ in_parent }) => in_parent !== true);
  return Buffer.alloc(here.reduce((sum, { compat_nr_pages }) => sum + Number(compat_nr_pages), 0) * pageSize);
}

/** An established connection. */
const connection: Fields = {
  type: 'INETSK',
  id: 9,
  isk: {
    id: 9,
    ino: 255,
    family: 2,
    type: 1,
    proto: 6,
    state: 1,
    src_port: 1,
    dst_port: 2,
    flags: 0,
    backlog: 0,
    fown,
    opts: {
      so_sndbuf: 0,
      so_rcvbuf: 0,
      so_snd_tmo_sec: 0,
      so_snd_tmo_usec: 0,
      so_rcv_tmo_sec: 0,
      so_rcv_tmo_usec: 0,
    },
  },
};

describe('the completeness of images', () => {
  it('is found in a whole dump', () => {
    const { verdict, findings } = verification(intact);
    assert.deepEqual([verdict, findings.items], ['restores', []]);
  });

  for (const name of [
    'inventory',
    'pstree',
    'core-7',
    'core-8',
    'mm-7',
    'pagemap-7',
    'pages-1',
    'fs-7',
    'fdinfo-2',
    'files',
  ]) {
    it(`is missed without ${name}.img`, () => {
      const said = reasons(without(`${name}.img`));
      assert.ok(
        said.some((why) => why.startsWith(`N ${name}.img is missing: `)),
        said.join('\n'),
      );
    });
  }

  for (const name of Object.keys(intact).filter((each) => !/^(timens|seccomp)/.test(each))) {
    it(`is missed when the last byte of ${name} is cut off`, () => {
      const cut = { ...intact, [name]: intact[name]!.subarray(0, -1) };
      assert.equal(verification(cut).verdict, 'does-not-restore');
    });
  }

  it('is missed when pagemap-7.img ends behind a record, by the pages that it does not list', () => {
    const cut = image('PAGEMAP', { pages_id: 1 }, entry(0x10000, 1));
    assert.deepEqual(reasons({ ...intact, 'pagemap-7.img': cut }), [
      'N pages-1.img has 12288 bytes, and pagemap-7.img lists 4096 of them: one of the two was changed',
    ]);
  });

  for (const name of ['inventory', 'pstree', 'core-7', 'core-8', 'ids-7', 'mm-7', 'fs-7', 'pagemap-7']) {
    it(`is missed when ${name}.img ends behind its head`, () => {
      const head = intact[`${name}.img`]!.subarray(0, name === 'inventory' ? 4 : 8);
      assert.match(reasons({ ...intact, [`${name}.img`]: head }).join(), /ends before its first record/);
    });
  }

  it('asks for cgroup.img as root, if a thread was in another control group than CRIU', () => {
    const thread = threadCore('helper');
    const moved = { ...thread, thread_core: { ...(thread.thread_core as Fields), cg_set: 2 } };
    const inventory = image('INVENTORY', { img_version: 2, root_cg_set: 1 });
    const said = reasons({
      ...intact,
      'inventory.img': inventory,
      'core-7.img': image('CORE', { ...core('x'), ...moved }),
    });
    assert.deepEqual(
      said,
      me.uid === 0 ? ['N cgroup.img is missing: it has the control groups of the process'] : [],
    );
  });

  it('asks for no cgroup.img where no set is named, as in the dump of a user', () => {
    const whole = core('x');
    const unset = { ...whole, tc: { ...(whole.tc as Fields), cg_set: 0 } };
    const bare = { ...whole, thread_core: { ...(whole.thread_core as Fields), cg_set: 0 } };
    for (const each of [unset, bare]) {
      const dump = { ...intact, 'core-7.img': image('CORE', each) };
      assert.deepEqual(reasonsOf(dump, { ...me, uid: 0 }), []);
    }
  });

  it('cannot be told of directories of control groups below more than are looked at', () => {
    let directory: Fields = { dir_name: 'x', properties: [] };
    for (let level = 0; level < 70; level++) directory = { dir_name: 'x', children: [directory] };
    const groups = image('CGROUP', { controllers: [{ cnames: ['cpu'], dirs: [directory] }] });
    const said = reasons({ ...intact, 'cgroup.img': groups });
    assert.match(said.join('\n'), /^\? cgroup\.img at byte \d+ is a message in more than 64 others$/);
  });

  it('asks for seccomp.img only if a thread has a filter', () => {
    assert.deepEqual(reasons(without('seccomp.img')), []);
    const thread = threadCore('helper');
    const filtered = {
      ...thread,
      thread_core: { ...(thread.thread_core as Fields), seccomp_mode: 'filter' },
    };
    const said = reasons({ ...without('seccomp.img'), 'core-8.img': image('CORE', filtered) });
    assert.match(said.join(), /seccomp\.img is missing/);
  });

  it('asks a process that has ended for nothing but its core', () => {
    const ended = {
      'inventory.img': intact['inventory.img']!,
      'pstree.img': intact['pstree.img']!,
      'files.img': intact['files.img']!,
    };
    assert.deepEqual(reasons({ ...ended, 'core-7.img': image('CORE', core('gone', { state: 6 })) }), []);
  });

  it('asks for shared memory, deleted files and connections by their names', () => {
    const said = reasons({
      ...intact,
      'mm-7.img': image(
        'MM',
        space({ vmas: [mapping(0x10000, 4), mapping(0x20000, 1, { status: 1 | (1 << 8), shmid: 55 })] }),
      ),
      'remap-fpath.img': image('REMAP_FPATH', { orig_id: 2, remap_id: 10, remap_type: 'GHOST' }),
      'files.img': Buffer.concat([intact['files.img']!, image('FILES', connection).subarray(8)]),
    });
    for (const name of ['pagemap-shmem-55.img', 'ghost-file-a.img', 'tcp-stream-ff.img'])
      assert.ok(
        said.some((why) => why.startsWith(`N ${name} is missing`)),
        `${name}: ${said.join('\n')}`,
      );
  });

  it('asks for the pages of a memfd that has a size', () => {
    const memfd = { name: 'x', uid: 0, gid: 0, shmid: 56, seals: 0, inode_id: 5 };
    const dump = (size: number) => ({ ...intact, 'memfd.img': image('MEMFD_INODE', { ...memfd, size }) });
    assert.deepEqual(reasons(dump(0)), []);
    assert.match(reasons(dump(1)).join(), /^N pagemap-shmem-56\.img is missing/);
  });

  it('asks for memfd.img where a memfd is open', () => {
    const memfd = { type: 'MEMFD', id: 9, memfd: { id: 9, flags: 2, pos: 0, fown, inode_id: 5 } };
    const open = Buffer.concat([intact['files.img']!, image('FILES', memfd).subarray(8)]);
    assert.deepEqual(reasons({ ...intact, 'files.img': open }), [
      'N memfd.img is missing: it tells where the content of a memory file (memfd) is',
    ]);
    const inode = { name: 'x', uid: 0, gid: 0, size: 0, shmid: 56, seals: 0, inode_id: 5 };
    const whole = { 'files.img': open, 'memfd.img': image('MEMFD_INODE', inode) };
    assert.deepEqual(reasons({ ...intact, ...whole }), []);
  });

  it('asks for no state of a connection that the dump or the restore closes', () => {
    const connected = {
      ...intact,
      'files.img': Buffer.concat([intact['files.img']!, image('FILES', connection).subarray(8)]),
    };
    assert.match(reasons(connected).join(), /tcp-stream-ff\.img is missing/);
    const closing = image('INVENTORY', { img_version: 2, tcp_close: true });
    assert.deepEqual(reasons({ ...connected, 'inventory.img': closing }), []);
    assert.deepEqual(reasonsOf(connected, { ...me, tcpClose: true }), []);
  });

  it('misses an open file that a descriptor or a mapping names', () => {
    assert.deepEqual(
      reasons({ ...intact, 'fdinfo-2.img': image('FDINFO', { id: 77, flags: 0, type: 'REG', fd: 0 }) }),
      ['N fdinfo-2.img names the open file 77, and files.img has no such file'],
    );
    const vmas = [mapping(0x10000, 4, { status: 1 | (1 << 6), shmid: 78 })];
    assert.match(
      reasons({ ...intact, 'mm-7.img': image('MM', space({ vmas })) }).join(),
      /names the open file 78/,
    );
  });

  it('does not ask images of an older CRIU, which have reg-files.img, for files.img', () => {
    const old = {
      ...without('files.img'),
      'reg-files.img': image('REG_FILES', regular(1, '/x').reg as Fields),
    };
    assert.deepEqual(reasons(old), []);
  });

  it('takes a link in the place of an image for what cannot be told', () => {
    const said = reasons(without('core-8.img'), (path) => {
      writeFileSync(join(path, 'elsewhere'), intact['core-8.img']!);
      symlinkSync('elsewhere', join(path, 'core-8.img'));
    });
    assert.deepEqual(said, ['? core-8.img is a link, which is not followed']);
  });
});

describe('a link in the place of pages', () => {
  it('makes the verdict that the size cannot be told', () => {
    const said = reasons(intact, (path) => {
      renameSync(join(path, 'pages-1.img'), join(path, 'elsewhere'));
      symlinkSync('elsewhere', join(path, 'pages-1.img'));
    });
    assert.deepEqual(said, ['? pages-1.img is a link, which is not followed']);
  });

  it('does so in the images before', () => {
    const pagemap = image('PAGEMAP', { pages_id: 1 }, entry(0x10000, 3, { in_parent: true }));
    const own = { 'pagemap-7.img': pagemap, 'pages-1.img': Buffer.alloc(0) };
    const said = reasons({ ...intact, ...own }, (path) => {
      mkdirSync(join(path, 'before'));
      writeFileSync(
        join(path, 'before', 'pagemap-7.img'),
        image('PAGEMAP', { pages_id: 1 }, entry(0x10000, 3)),
      );
      symlinkSync('../pages-1.img', join(path, 'before', 'pages-1.img'));
      symlinkSync('before', join(path, 'parent'));
    });
    assert.deepEqual(said, ['? pages-1.img is a link, which is not followed']);
  });
});

describe('pages in the images before', () => {
  const child = (...entries: Fields[]) => ({
    ...intact,
    'pagemap-7.img': image('PAGEMAP', { pages_id: 1 }, ...entries),
    'pages-1.img': pagesOf(entries),
  });
  const parent = (path: string, ...entries: Fields[]): void => {
    mkdirSync(join(path, 'before'));
    writeFileSync(join(path, 'before', 'pagemap-7.img'), image('PAGEMAP', { pages_id: 1 }, ...entries));
    writeFileSync(join(path, 'before', 'pages-1.img'), Buffer.alloc(3 * pageSize));
    symlinkSync('before', join(path, 'parent'));
  };
  const left = entry(0x11000, 3, { in_parent: true });

  it('are found where a run spans several of the parent', () => {
    const whole = (path: string): void =>
      parent(path, entry(0x10000, 2), entry(0x12000, 1), entry(0x13000, 4, { flags: 1 }));
    // The last run is in a parent's parent, which is not there: that is told of the parent, and not as a fault of this dump.
    assert.deepEqual(
      reasons(child(entry(0x10000, 1), left), whole).filter((why) => why.startsWith('N')),
      [],
    );
  });

  it('are counted where the parent has gaps', () => {
    const gaps = (path: string): void => parent(path, entry(0x10000, 2), entry(0x13000, 1));
    assert.match(
      reasons(child(entry(0x10000, 1), left), gaps).join(),
      /^N 1 pages of pagemap-7\.img are not in/,
    );
    const short = (path: string): void => parent(path, entry(0x10000, 2));
    assert.match(reasons(child(left), short).join(), /^N 2 pages/);
    const before = (path: string): void => parent(path, entry(0x9000, 1));
    assert.match(reasons(child(left), before).join(), /^N 3 pages/);
  });

  it('are missed where the parent has left them to its program (lazy pages)', () => {
    const lazy = (path: string): void => parent(path, entry(0x10000, 8, { flags: 2 }));
    assert.match(reasons(child(left), lazy).join(), /^N 3 pages/);
  });

  it('are missed without a parent, and with a parent that leads nowhere', () => {
    assert.match(reasons(child(left)).join(), /^N 3 pages .*parent \(missing\)/);
    const nowhere = reasons(child(left), (path) => symlinkSync('nowhere', join(path, 'parent')));
    assert.match(nowhere.join(), /N parent leads to nowhere, where no directory is/);
  });

  it('are found where a copy made a directory of the link, and missed where a file is in its place', () => {
    const copied = (path: string): void => {
      parent(path, entry(0x10000, 3));
      rmSync(join(path, 'parent'));
      renameSync(join(path, 'before'), join(path, 'parent'));
    };
    const found = child(entry(0x10000, 1), entry(0x11000, 2, { in_parent: true }));
    assert.deepEqual(reasons(found, copied), []);
    const file = reasons(found, (path) => writeFileSync(join(path, 'parent'), ''));
    assert.match(file.join(), /N parent is no directory/);
  });

  it('are missed where the pages of the parent were cut', () => {
    const cut = reasons(child(entry(0x10000, 1), left), (path) => {
      parent(path, entry(0x10000, 5));
    });
    assert.match(cut.join(), /^N .*before\/pages-1\.img has 12288 bytes of 20480/);
  });
});

/** Every pid is free. */
const quiet: Machine = { processOf: () => undefined, userName: (uid) => `user ${uid}` };

/** A dump of me that used this file, and whose pids are beyond those of the kernel. */
function using(path: string, more: Fields = {}, flags = 0): Record<string, Uint8Array> {
  const { size, mode } = statSync(path);
  const creds: Fields = Object.fromEntries(
    ['uid', 'euid', 'suid', 'fsuid']
      .map((name) => [name, me.uid])
      .concat(['gid', 'egid', 'sgid', 'fsgid'].map((name) => [name, me.gid])),
  );
  const directory = statSync('/').mode;
  return {
    ...intact,
    'pstree.img': image('PSTREE', { pid: 7, ppid: 0, pgid: 7, sid: 7, threads: [7] }),
    'core-7.img': image('CORE', core('x', { creds: { ...creds, groups: me.groups } })),
    'files.img': image(
      'FILES',
      regular(1, path, { size, mode, flags, ...more }),
      regular(2, '/dev/null', { mode: statSync('/dev/null').mode, size: 0 }),
      regular(3, '/', { mode: directory }),
      regular(4, '/', { mode: directory }),
    ),
  };
}

describe('this machine', () => {
  const program = '/bin/ls';

  it('has what a dump of its own files needs', () => {
    assert.deepEqual(reasons(using(program), undefined, quiet), []);
  });

  it('has another build of a program, by the build-id that file(1) and CRIU read', () => {
    withFiles({}, (path) => {
      const copy = join(path, 'ls');
      copyFileSync(process.execPath, copy);
      const bytes = readFileSync(copy);
      const id = idOf(copy);
      assert.ok(id !== undefined && id.length >= 16, 'this Node has a build-id');
      const words = id.match(/.{8}/g)!.map((word) => Buffer.from(word, 'hex').readUInt32LE());
      assert.deepEqual(reasons(using(copy, { build_id: words }), undefined, quiet), []);
      const at = bytes.indexOf(Buffer.from(id, 'hex'));
      bytes[at]! ^= 1;
      const was = using(copy, { build_id: words });
      writeFileSync(copy, bytes);
      assert.match(reasons(was, undefined, quiet).join(), /is another build than at the dump/);
    });
  });

  it('lacks a file, has it longer, has it with another mode', () => {
    withFiles({ 'out.log': Buffer.from('0123456789') }, (path) => {
      const log = join(path, 'out.log');
      const dump = using(log);
      writeFileSync(log, '0123456789more');
      assert.match(reasons(dump, undefined, quiet).join(), /has 14 bytes, and had 10 at the dump/);
      writeFileSync(log, '0123456789');
      execFileSync('chmod', ['600', log]);
      assert.match(reasons(dump, undefined, quiet).join(), /has mode 0600/);
      rmSync(log);
      assert.match(reasons(dump, undefined, quiet).join(), /out\.log is missing/);
    });
  });

  it('asks nothing of a deleted file, whose content is in the images', () => {
    withFiles({ gone: Buffer.from('x') }, (path) => {
      const gone = join(path, 'gone');
      const ghost = { uid: 0, gid: 0, mode: 0o100644 };
      const dump = {
        ...using(gone),
        'remap-fpath.img': image('REMAP_FPATH', { orig_id: 1, remap_id: 1, remap_type: 'GHOST' }),
        'ghost-file-1.img': image('GHOST_FILE', ghost, Buffer.from('x')),
      };
      rmSync(gone);
      assert.deepEqual(reasons(dump, undefined, quiet), []);
    });
  });

  it('has another process under the pid, or a group of that number', () => {
    const holder = {
      ...quiet,
      processOf: (pid: number) => ({ as: 'process', by: { pid, name: 'x', user: 'bob' } }) as const,
    };
    assert.match(
      reasons(using(program), undefined, holder).join(),
      /pid 7, which a process needs, is that of process 7 \(x\) of bob/,
    );
    const child = spawn('sleep', ['1000'], { detached: true });
    try {
      const tree = image('PSTREE', {
        pid: child.pid!,
        ppid: 0,
        pgid: child.pid!,
        sid: child.pid!,
        threads: [child.pid!],
      });
      const renamed = Object.fromEntries(
        Object.entries(using(program)).map(([name, bytes]) => [name.replace('-7.', `-${child.pid}.`), bytes]),
      );
      assert.match(
        reasons({ ...renamed, 'pstree.img': tree }, undefined, quiet).join(),
        /is the number of the session/,
      );
    } finally {
      child.kill();
    }
  });

  it('has a program at a port that the dump listens at', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const opts = {
      so_sndbuf: 0,
      so_rcvbuf: 0,
      so_snd_tmo_sec: 0,
      so_snd_tmo_usec: 0,
      so_rcv_tmo_sec: 0,
      so_rcv_tmo_usec: 0,
    };
    const dump = (...address: number[]) => ({
      ...using(program),
      'files.img': Buffer.concat([
        using(program)['files.img']!,
        image('FILES', {
          type: 'INETSK',
          id: 9,
          isk: {
            id: 9,
            ino: 5,
            family: 2,
            type: 1,
            proto: 6,
            state: 10,
            src_port: port,
            dst_port: 0,
            flags: 0,
            backlog: 1,
            src_addr: address,
            fown,
            opts,
          },
        }).subarray(8),
      ]),
    });
    assert.match(
      reasons(dump(0x0100007f), undefined, quiet).join(),
      /TCP 127\.0\.0\.1:\d+ is in use by a program of user/,
    );
    assert.match(reasons(dump(0), undefined, quiet).join(), /TCP 0\.0\.0\.0:\d+ is in use/);
    assert.deepEqual(reasons(dump(0x0200007f), undefined, quiet), []);
    server.close();
  });

  it('is not looked at for a tree with namespaces of its own', () => {
    const ids = { vm_id: 2, files_id: 2, fs_id: 2, sighand_id: 2, mnt_ns_id: 9, pid_ns_id: 8 };
    const root = { vm_id: 1, files_id: 1, fs_id: 1, sighand_id: 1, mnt_ns_id: 1, pid_ns_id: 1 };
    const dump = {
      ...using(program, { size: 1 }),
      'ids-7.img': image('IDS', ids),
      'inventory.img': image('INVENTORY', { img_version: 2, root_ids: root }),
    };
    assert.deepEqual(reasons(dump, undefined, quiet), [
      '? the processes have namespaces of their own (mnt, pid), into which nothing looks here',
    ]);
  });
});

function idOf(path: string): string | undefined {
  const fd = openSync(path, 'r');
  try {
    return buildIdOf(fd);
  } finally {
    closeSync(fd);
  }
}
