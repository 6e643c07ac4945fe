/** criuctl as root in directories that alice has prepared: it writes neither to files that she can read nor through her links. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
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
import { directoryOf, RootsFile, uids } from '../hostile/support/people.ts';
import { SilentMount } from '../hostile/support/silent-mount.ts';
import { cannotShowHere, freshDirectory, inVm, run, succeeds } from './support/bench.ts';
import { criuctl, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { assertAllIsTold, journal } from './support/journal.ts';
import { pageServers } from './support/proc.ts';
import { Target } from './support/targets.ts';

/** A directory of alice's with a file for the memory of a process, and links to files that only root may write. */
class PlantedDirectory {
  readonly path = directoryOf('alice');
  readonly overwritten = new RootsFile();
  readonly made = join(freshDirectory(), 'made-by-root');

  constructor() {
    for (let number = 1; number < 10; number += 1) this.#plant(`pages-${number}.img`);
    this.#plant('cpuinfo.img');
    for (const verb of ['dump', 'pre-dump', 'restore', 'check', 'cpuinfo', 'page-server'])
      symlinkSync(this.made, join(this.path, `${verb}.log`));
    for (const name of ['stats-dump', 'stats-restore'])
      symlinkSync(this.overwritten.path, join(this.path, name));
  }

  #plant(name: string): void {
    const path = join(this.path, name);
    writeFileSync(path, '');
    chownSync(path, uids.alice, uids.alice);
    chmodSync(path, 0o666);
  }

  /** The files that alice can now read, or that were written through her links. */
  get got(): string[] {
    const filled = readdirSync(this.path).filter(
      (name) => name.endsWith('.img') && statSync(join(this.path, name)).size > 0,
    );
    return [
      ...filled,
      ...(existsSync(this.made) ? [this.made] : []),
      ...(this.overwritten.unchanged ? [] : [this.overwritten.path]),
    ];
  }
}

/** The number of requests that the service has received from other processes. */
async function requests(): Promise<number> {
  await assertAllIsTold();
  const own = `${process.pid}`;
  return journal().filter((entry) => entry.CRIU_REQUEST !== undefined && entry.CRIU_CALLER_PID !== own)
    .length;
}

/** Requests that make CRIU write: the words of each verb, given the pid of a process. */
const writing: Readonly<Record<string, (pid: number) => string[]>> = {
  dump: (pid) => ['dump', `${pid}`, '-R'],
  'pre-dump': (pid) => ['pre-dump', `${pid}`],
  'cpuinfo dump': () => ['cpuinfo', 'dump'],
  'cpuinfo check': () => ['cpuinfo', 'check'],
  'page-server': () => ['page-server'],
  check: () => ['check'],
  restore: () => ['restore'],
};

describe('criuctl as root in directories of other users', () => {
  for (const [verb, words] of Object.entries(writing)) {
    it(`with ${verb} writes neither into a directory of alice’s nor through her links, and sends no request`, async () => {
      const target = Target.start();
      const planted = new PlantedDirectory();
      const before = await requests();
      const sentence = new RegExp(`refused: ${planted.path} belongs to uid 1500, and whoever writes`);
      failed(criuctl(...words(target.pid), '-D', planted.path), 3, sentence, /or say --trust-images/);
      assert.deepEqual(planted.got, []);
      assert.equal(await requests(), before);
      await target.assertCountsOn();
    });
  }

  it('writes through links of alice’s if it is told to trust her, and fills no image of hers', async () => {
    const target = Target.start();
    const planted = new PlantedDirectory();
    const dump = () => criuctl('dump', `${target.pid}`, '-R', '-D', planted.path, '--trust-images');
    failed(dump(), 3, /holds images of a dump that did not finish/);
    assert.deepEqual(planted.got, []);
    run('find', planted.path, '-name', '*.img', '-delete');
    must(dump());
    assert.equal(statSync(join(planted.path, 'pages-1.img')).uid, 0);
    assert.deepEqual(planted.got.slice(-2), [planted.made, planted.overwritten.path]);
    await target.assertCountsOn();
  });

  it('writes no log and no statistics of a dump, a restore or a page server into a directory of alice’s', async () => {
    const target = Target.start();
    const planted = new PlantedDirectory();
    const images = freshDirectory();
    must(criuctl('dump', `${target.pid}`, '-R', '-D', images));
    const sentence = new RegExp(
      `refused: ${planted.path} belongs to uid 1500, and whoever writes there decides`,
    );
    for (const verb of ['dump', 'restore', 'page-server'])
      failed(criuctl(...writing[verb]!(target.pid), '-D', images, '-W', planted.path), 3, sentence);
    assert.deepEqual(planted.got, []);
    await target.assertCountsOn();
  });

  it('writes no pid into a directory of alice’s, and then restores nothing', async () => {
    const target = Target.start();
    const images = freshDirectory();
    const hers = directoryOf('alice');
    must(criuctl('dump', `${target.pid}`, '-D', images));
    await target.assertGone();
    failed(
      criuctl('restore', '-D', images, '--pidfile', join(hers, 'pid')),
      3,
      /RESTORE refused: .* belongs to uid 1500/,
    );
    assert.equal(target.alive, false);
    const pidfile = join(freshDirectory(), 'pid');
    must(criuctl('restore', '-D', images, '--pidfile', pidfile));
    assert.equal(readFileSync(pidfile, 'utf8'), `${target.pid}`);
    await target.assertCountsOn();
  });

  it('refuses a path through a directory of alice’s, and a link of hers in /var/tmp', async () => {
    const target = Target.start();
    const hers = directoryOf('alice');
    const below = join(hers, 'roots');
    mkdirSync(below, { mode: 0o700 });
    failed(
      criuctl('dump', `${target.pid}`, '-R', '-D', below),
      3,
      new RegExp(`refused: ${hers} belongs to uid 1500`),
    );
    const link = `${hers}-link`;
    run('ln', '-s', freshDirectory(), link);
    run('chown', '--no-dereference', 'alice', link);
    failed(
      criuctl('dump', `${target.pid}`, '-R', '-D', link),
      3,
      new RegExp(`refused: ${link} belongs to uid 1500`),
    );
    rmSync(link);
    failed(
      criuctl('dump', `${target.pid}`, '-R', '-D', '/var/tmp'),
      3,
      /refused: \/var\/tmp can be written by others/,
    );
    await target.assertCountsOn();
  });

  it('fills no image of alice’s in a directory that root has taken over, and no file of root’s that others can read', async () => {
    const target = Target.start();
    const planted = new PlantedDirectory();
    const dump = () => criuctl('dump', `${target.pid}`, '-R', '-D', planted.path);
    chownSync(planted.path, 0, 0);
    failed(
      dump(),
      3,
      /refused: .* (belongs to uid 1500|is a symbolic link), and root’s CRIU would write into it/,
    );
    run('chown', '--recursive', '--no-dereference', 'root:root', planted.path);
    failed(
      dump(),
      3,
      /refused: .* (can be written by others \(mode 666\)|is a symbolic link), and root’s CRIU/,
    );
    run('chmod', '--recursive', 'u=rwX,go=rX', planted.path);
    failed(dump(), 3, /refused: .* (can be read by others \(mode 644\)|is a symbolic link), and root’s CRIU/);
    run('find', planted.path, '-name', '*.img', '-exec', 'chmod', '600', '{}', '+');
    failed(dump(), 3, /refused: .* is a symbolic link, and root’s CRIU/);
    assert.deepEqual(planted.got, []);
    run('find', planted.path, '-type', 'l', '-delete');
    failed(dump(), 3, /holds images of a dump that did not finish/);
    // Images of root's own are replaced.
    for (let again = 0; again < 2; again += 1)
      must(criuctl('dump', `${target.pid}`, '-R', '-D', planted.path, '--replace'));
    await target.assertCountsOn();
  });

  it('neither fills nor restores an image that a process of alice’s still has open', async () => {
    const target = Target.start();
    const images = freshDirectory();
    must(criuctl('dump', `${target.pid}`, '-R', '-D', images));
    const holder = run(
      'sh',
      '-c',
      `exec 4<>${join(images, 'pages-1.img')}; sleep 1000 >/dev/null 2>&1 & echo $!`,
    );
    try {
      failed(criuctl('dump', `${target.pid}`, '-R', '-D', images), 3, /pages-1\.img is open in some process/);
      failed(criuctl('restore', '-D', images), 3, /pages-1\.img is open for writing in some process/);
    } finally {
      process.kill(Number(holder), 'SIGKILL');
    }
    await target.assertCountsOn();
  });

  it('takes no images of alice’s as the parent of a dump', async () => {
    const target = Target.start();
    const images = freshDirectory();
    const hers = directoryOf('alice');
    const sentence = new RegExp(`refused: ${hers} belongs to uid 1500, and whoever writes images decides`);
    failed(criuctl('dump', `${target.pid}`, '-R', '-D', images, '--prev-images-dir', hers), 3, sentence);
    symlinkSync(hers, join(images, 'parent'));
    failed(criuctl('dump', `${target.pid}`, '-R', '-D', images), 3, sentence);
    failed(criuctl('page-server', '-D', images), 3, sentence);
    assert.deepEqual(pageServers(), []);
    await target.assertCountsOn();
  });

  it('refuses a file system that a user may have mounted, whoever owns the files on it', async () => {
    const target = Target.start();
    const stick = freshDirectory();
    const [lower, upper] = [freshDirectory(), freshDirectory()];
    mkdirSync(join(lower, 'images'), { mode: 0o700 });
    run('mount', '-t', 'overlay', '-o', `nosuid,nodev,lowerdir=${lower}:${upper}`, 'overlay', stick);
    try {
      const sentence = new RegExp(`refused: ${stick} is on a file system that a user may have brought`);
      failed(criuctl('dump', `${target.pid}`, '-R', '-D', join(stick, 'images')), 3, sentence);
      failed(criuctl('restore', '-D', join(stick, 'images')), 3, sentence);
    } finally {
      run('umount', stick);
    }
    await target.assertCountsOn();
  });

  it('refuses a file system of alice’s that answers nothing, without waiting for it', async function () {
    const opened = 'test -e /dev/fuse || mknod -m 666 /dev/fuse c 10 229; : <>/dev/fuse';
    if (!inVm && !succeeds('sh', '-c', opened)) cannotShowHere(this, 'the container may not open /dev/fuse');
    const target = Target.start();
    const silent = SilentMount.of('alice');
    try {
      const sentence = new RegExp(`refused: ${silent.path} is on a FUSE file system`);
      failed(criuctl('dump', `${target.pid}`, '-R', '-D', silent.path), 3, sentence);
      failed(criuctl('restore', '-D', join(silent.path, 'images')), 3, sentence);
    } finally {
      silent.end();
    }
    await target.assertCountsOn();
  });
});
