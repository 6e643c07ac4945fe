/** Directories that root's CRIU may use or not: real ones, of root's and of other users. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { broughtByOthers, Mounts, parseMounts } from '../../../src/cli/mounts.ts';
import { openTrusted, type Use } from '../../../src/cli/trust.ts';
import { isImage } from '../../../src/images/dump-names.ts';

const alice = 1500;

const restore: Use = { reads: true, writes: (name) => name === 'restore.log', before: ['parent'] };
const dump: Use = {
  reads: false,
  writes: (name) => isImage(name) || name === 'dump.log',
  before: ['parent'],
};

describe('a directory that root names', () => {
  let directory = '';
  const at = (...names: string[]): string => join(directory, ...names);
  const file = (name: string, mode = 0o600): void => writeFileSync(at(name), 'content', { mode });
  const openFiles = (): string[] => readdirSync('/proc/self/fd');
  /** Descriptors of other tests may be closed by the garbage collector in the meantime. */
  const assertNoneOpened = (before: readonly string[]): void =>
    assert.deepEqual(
      openFiles().filter((fd) => !before.includes(fd)),
      [],
    );

  before(() => assert.equal(process.geteuid?.(), 0, 'these tests run as root'));
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criuctl-trust-'));
    for (const name of ['1', '2', 'hers', 'roots']) mkdirSync(at(name), { mode: 0o700 });
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /**
   * The reason against the directory; undefined if it is trusted, and open as exactly that directory. Checks that no other
   * descriptor is left open.
   */
  function reasonAgainst(path: string, use: Use, mounts?: Mounts): string | undefined {
    const before = openFiles();
    const trust = openTrusted(path, use, mounts);
    if ('fd' in trust) {
      assert.equal(fstatSync(trust.fd).ino, statSync(path).ino);
      closeSync(trust.fd);
    }
    assertNoneOpened(before);
    return 'fd' in trust ? undefined : trust.reason;
  }

  describe('to restore from', () => {
    it('is refused if others can write it, an image in it, or its earlier images', () => {
      file('1/core-1.img');
      file('2/core-1.img');
      symlinkSync('../1', at('2/parent'));
      assert.equal(reasonAgainst(at('2'), restore), undefined);
      chmodSync(at('1/core-1.img'), 0o620);
      assert.match(
        reasonAgainst(at('2'), restore) ?? '',
        /\/1\/core-1\.img can be written by others \(mode 620\)$/,
      );
      chmodSync(at('1/core-1.img'), 0o600);
      chmodSync(at('2'), 0o777);
      assert.match(reasonAgainst(at('2'), restore) ?? '', /\/2 can be written by others \(mode 777\)$/);
      chmodSync(at('2'), 0o700);
      chownSync(at('2/core-1.img'), alice, 0);
      assert.match(reasonAgainst(at('2'), restore) ?? '', /core-1\.img belongs to uid 1500$/);
    });

    it('is refused if others could replace it', () => {
      mkdirSync(at('hers/images'), { mode: 0o700 });
      symlinkSync('../roots', at('hers/link'));
      symlinkSync('hers/images', at('link'));
      symlinkSync(at('hers/link'), at('link-to-link'));
      const ways = ['hers/images', 'hers/link', 'link', 'link-to-link', 'hers/images/../../link'];
      for (const way of ways) assert.equal(reasonAgainst(`${directory}/${way}`, restore), undefined, way);
      chownSync(at('hers'), alice, 0);
      for (const way of ways)
        assert.match(reasonAgainst(`${directory}/${way}`, restore) ?? '', /\/hers belongs to uid 1500$/, way);
      assert.equal(reasonAgainst(at('roots'), restore), undefined);
      chownSync(at('hers'), 0, 0);
      chmodSync(at('hers'), 0o777);
      assert.match(
        reasonAgainst(at('hers/images'), restore) ?? '',
        /\/hers can be written by others \(mode 777\)$/,
      );
    });

    it('may be below a directory like /tmp, where others can replace only their own files', () => {
      mkdirSync(at('hers/images'), { mode: 0o700 });
      symlinkSync('../roots', at('hers/roots-link'));
      symlinkSync('../roots', at('hers/alices-link'));
      execFileSync('chown', ['--no-dereference', `${alice}`, at('hers/alices-link')]);
      chmodSync(at('hers'), 0o1777);
      assert.equal(reasonAgainst(at('hers/images'), restore), undefined);
      assert.equal(reasonAgainst(at('hers/roots-link'), restore), undefined);
      assert.match(reasonAgainst(at('hers/alices-link'), restore) ?? '', /alices-link belongs to uid 1500$/);
      chownSync(at('hers/images'), alice, 0);
      assert.match(reasonAgainst(at('hers/images'), restore) ?? '', /images belongs to uid 1500$/);
      // Such a directory itself is refused.
      for (const use of [restore, dump])
        assert.match(reasonAgainst(at('hers'), use) ?? '', /\/hers can be written by others \(mode 777\)$/);
    });

    it('is refused if an image is a link whose way others decide, now or later', () => {
      file('roots/pages-1.img');
      symlinkSync('../roots/pages-1.img', at('1/pages-1.img'));
      assert.equal(reasonAgainst(at('1'), restore), undefined);
      symlinkSync('../hers/pages-2.img', at('1/pages-2.img'));
      assert.equal(
        reasonAgainst(at('1'), restore),
        undefined,
        'it leads nowhere, and root alone can change that',
      );
      chmodSync(at('hers'), 0o1777);
      assert.match(
        reasonAgainst(at('1'), restore) ?? '',
        /pages-2\.img leads nowhere yet, and others can write .*hers$/,
      );
      chmodSync(at('hers'), 0o700);
      file('hers/pages-2.img');
      chownSync(at('hers'), alice, 0);
      assert.match(reasonAgainst(at('1'), restore) ?? '', /\/hers belongs to uid 1500$/);
    });

    it('is refused if another process still has an image open for writing', () => {
      file('1/pages-1.img');
      const writer = openSync(at('1/pages-1.img'), 'r+');
      const reader = openSync(at('1/pages-1.img'), 'r');
      assert.match(
        reasonAgainst(at('1'), restore) ?? '',
        /pages-1\.img is open for writing in some process$/,
      );
      closeSync(writer);
      assert.equal(reasonAgainst(at('1'), restore), undefined);
      closeSync(reader);
    });

    it('is read only once if images name themselves as the earlier images', () => {
      symlinkSync('.', at('1/parent'));
      assert.equal(reasonAgainst(at('1'), restore), undefined);
    });
  });

  describe('to dump into', () => {
    it('is refused if others can write it, or lead the way elsewhere', () => {
      assert.equal(reasonAgainst(at('1'), dump), undefined);
      chmodSync(at('1'), 0o777);
      assert.match(reasonAgainst(at('1'), dump) ?? '', /\/1 can be written by others \(mode 777\)$/);
      chownSync(at('2'), alice, 0);
      assert.match(reasonAgainst(at('2'), dump) ?? '', /\/2 belongs to uid 1500$/);
      mkdirSync(at('2/images'), { mode: 0o700 });
      assert.match(reasonAgainst(at('2/images'), dump) ?? '', /\/2 belongs to uid 1500$/);
    });

    it('is refused if a file that CRIU would overwrite is not root’s alone, or leads elsewhere', () => {
      const found = (reason: RegExp): void => {
        assert.match(reasonAgainst(at('1'), dump) ?? '', reason);
        for (const name of readdirSync(at('1'))) rmSync(at('1', name));
      };
      file('1/pages-1.img');
      assert.equal(reasonAgainst(at('1'), dump), undefined);
      chownSync(at('1/pages-1.img'), alice, 0);
      found(/pages-1\.img belongs to uid 1500$/);
      file('1/pages-1.img');
      chmodSync(at('1/pages-1.img'), 0o602);
      found(/pages-1\.img can be written by others \(mode 602\)$/);
      file('1/pages-1.img', 0o640);
      found(/pages-1\.img can be read by others \(mode 640\)$/);
      file('1/stats-restore', 0o644);
      assert.equal(reasonAgainst(at('1'), { ...dump, writes: () => true }), undefined);
      symlinkSync('/etc/planted', at('1/dump.log'));
      found(/dump\.log is a symbolic link$/);
      execFileSync('mkfifo', [at('1/dump.log')]);
      found(/dump\.log is no regular file$/);
      file('roots/precious');
      linkSync(at('roots/precious'), at('1/pages-1.img'));
      found(/pages-1\.img is a file that has 2 names$/);
    });

    it('is refused if another process still has an overwritten image open, which could read root’s memory', () => {
      file('1/pages-1.img');
      const reader = openSync(at('1/pages-1.img'), 'r');
      assert.match(reasonAgainst(at('1'), dump) ?? '', /pages-1\.img is open in some process$/);
      closeSync(reader);
      assert.equal(reasonAgainst(at('1'), dump), undefined);
      // A log holds no memory of processes, so reading it is allowed.
      file('1/dump.log');
      const follower = openSync(at('1/dump.log'), 'r');
      assert.equal(reasonAgainst(at('1'), dump), undefined);
      closeSync(follower);
    });

    it('may have other files, which are root’s own affair', () => {
      file('1/notes', 0o666);
      symlinkSync('/nowhere', at('1/link'));
      mkdirSync(at('1/directory'), { mode: 0o777 });
      chownSync(at('1/notes'), alice, 0);
      assert.equal(reasonAgainst(at('1'), dump), undefined);
    });

    it('is refused if the earlier images are not root’s alone, named by the option or by the existing link', () => {
      const onTop: Use = { ...dump, before: ['parent', '../2'] };
      file('2/pages-1.img');
      assert.equal(reasonAgainst(at('1'), onTop), undefined);
      chownSync(at('2/pages-1.img'), alice, 0);
      assert.match(reasonAgainst(at('1'), onTop) ?? '', /\/2\/pages-1\.img belongs to uid 1500$/);
      assert.equal(reasonAgainst(at('1'), dump), undefined);
      symlinkSync('../2', at('1/parent'));
      assert.match(reasonAgainst(at('1'), dump) ?? '', /\/2\/pages-1\.img belongs to uid 1500$/);
      rmSync(at('1/parent'));
      rmSync(at('2'), { recursive: true });
      assert.equal(reasonAgainst(at('1'), onTop), undefined, 'CRIU says itself that they are not there');
      chmodSync(directory, 0o1777);
      assert.match(reasonAgainst(at('1'), onTop) ?? '', /\/2 cannot be looked at \(ENOENT\)$/);
      chmodSync(directory, 0o700);
    });
  });

  it('is opened as the directory that was checked, whatever gets its name afterwards', () => {
    const trust = openTrusted(at('1'), dump);
    assert.ok('fd' in trust);
    renameSync(at('1'), at('looked-at'));
    mkdirSync(at('1'));
    assert.equal(fstatSync(trust.fd).ino, statSync(at('looked-at')).ino);
    closeSync(trust.fd);
  });

  it('that is missing, or no directory, is an error and not a refusal', () => {
    file('1/file');
    const before = openFiles();
    assert.throws(() => openTrusted(at('none'), dump), { code: 'ENOENT' });
    assert.throws(() => openTrusted(at('1/file'), dump), { code: 'ENOTDIR' });
    assert.throws(() => openTrusted(at('1/file/more'), dump), { code: 'ENOTDIR' });
    symlinkSync('loop', at('loop'));
    assert.throws(() => openTrusted(at('loop'), dump), { code: 'ELOOP' });
    assertNoneOpened(before);
  });

  it('is refused if the way leads elsewhere than its links say', async () => {
    // In its own mount namespace, the same path, and even the same directory at its end, is below a directory of uid 1500.
    mkdirSync(at('shown/images'), { recursive: true, mode: 0o700 });
    const script = `
      mkdir -m 700 ${at('real')} && mount --bind ${at('shown/images')} ${at('real')}
      mount -t tmpfs -o uid=1500,mode=700 tmpfs ${at('shown')} && mkdir -m 700 ${at('shown/images')}
      mount --bind ${at('real')} ${at('shown/images')} && echo ready && exec sleep 60`;
    const other = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(other.stdout, 'data');
      const inside = `/proc/${other.pid}/root${at('shown/images')}`;
      assert.equal(statSync(inside).ino, statSync(at('shown/images')).ino);
      const leads = /leads through \/proc\/[0-9]+\/root, which need not lead where it says$/;
      assert.match(reasonAgainst(inside, restore) ?? '', leads);
      symlinkSync(inside, at('link'));
      assert.match(reasonAgainst(at('link'), restore) ?? '', leads);
      symlinkSync(inside, at('1/parent'));
      assert.match(reasonAgainst(at('1'), dump) ?? '', leads);
    } finally {
      other.kill('SIGKILL');
      await once(other, 'exit');
    }
  });

  it('is refused before any other access if it, or the way, is on a file system that others have brought', () => {
    const brought = (path: string): Mounts =>
      new (class extends Mounts {
        override broughtByOthers(fd: number): string | undefined {
          return fstatSync(fd).ino === statSync(path).ino ? 'is on a stick' : undefined;
        }
      })();
    mkdirSync(at('roots/images'));
    for (const path of [at('roots'), at('roots/images')])
      assert.equal(reasonAgainst(at('roots/images'), restore, brought(path)), `${path} is on a stick`);
    assert.equal(reasonAgainst(at('roots/images'), restore, brought(at('1'))), undefined);
    symlinkSync('../roots/images', at('1/parent'));
    assert.equal(reasonAgainst(at('1'), dump, brought(at('roots'))), `${at('roots')} is on a stick`);
  });
});

describe('a file system that others have brought', () => {
  const fstab = `
#/dev/sdz1 /media/stick ext4 nosuid
/dev/sda2 /var   ext4\tdefaults,nosuid,nodev 0 2
/dev/sda3 /my\\040files ext4 nosuid
/dev/cdrom /media/cd udf ro,user,noauto
`;
  const mounted = (point: string, options: string, type: string): string | undefined => {
    const line = `36 35 8:1 / ${point} ${options} shared:1 master:2 - ${type} /dev/sdz1 rw,nosuid`;
    const mount = parseMounts(`${line}\n`).get(36);
    assert.ok(mount, line);
    return broughtByOthers(mount, fstab);
  };

  it('is recognized if a program serves it', () => {
    for (const type of ['fuse', 'fuseblk', 'fuse.sshfs'])
      assert.match(mounted('/mnt', 'rw', type) ?? '', /^is on a FUSE file system, whose owners and modes/);
    for (const type of ['ext4', 'virtiofs', 'nfs4', 'fusectl'])
      assert.equal(mounted('/mnt', 'rw', type), undefined);
  });

  it('is recognized if its set-user-ID bits do not count, unless the kernel or the administrator has mounted it', () => {
    const stick =
      /^is on a file system that a user may have brought \(it is mounted nosuid, and not by \/etc\/fstab\)$/;
    assert.match(mounted('/media/stick', 'rw,nosuid,nodev', 'ext4') ?? '', stick);
    assert.match(mounted('/media/cd', 'ro,nosuid,nodev', 'udf') ?? '', stick);
    assert.match(mounted('/var/mounted', 'rw,nosuid', 'ext4') ?? '', stick);
    for (const type of ['tmpfs', 'devtmpfs', 'proc'])
      assert.equal(mounted('/run', 'rw,nosuid', type), undefined);
    assert.equal(mounted('/var', 'rw,nosuid,nodev', 'ext4'), undefined);
    assert.equal(mounted('/my\\040files', 'rw,nosuid', 'ext4'), undefined);
    assert.equal(mounted('/media/stick', 'rw,relatime', 'ext4'), undefined, 'the option is the mount’s');
  });

  it('is recognized by an open file', () => {
    const mounts = new Mounts();
    const fd = openSync('/proc', 'r');
    const { point, type } = mounts.of(fd)!;
    assert.deepEqual([point, type], ['/proc', 'proc']);
    assert.equal(mounts.broughtByOthers(fd), undefined);
    closeSync(fd);
  });
});
