/** An independent client: Debian's pycriu, unmodified, over the service's socket. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { as, directoryOf } from '../hostile/support/people.ts';
import { eventually, freshDirectory, needsSoftDirty, run } from './support/bench.ts';
import { it } from './support/it.ts';
import { pageServers } from './support/proc.ts';
import { pycriu, pycriuUnder } from './support/pycriu.ts';
import { Target } from './support/targets.ts';

describe('pycriu over the socket of the service', () => {
  it('checks the kernel', async () => {
    pycriu('check', freshDirectory());
  });

  it('asks for the version, and gets that of the installed criu', async () => {
    const { major, minor } = pycriu<{ major: number; minor: number }>('version');
    assert.match(run('criu', '--version'), new RegExp(`^Version: ${major}\\.${minor}(\\.|$)`, 'm'));
  });

  it('asks for features', async () => {
    const features = pycriu<{ success: boolean; pidfd_store: boolean }>('features');
    assert.equal(features.success, true);
    assert.equal(features.pidfd_store, true);
  });

  it('dumps a process, which is then gone, and restores it, and it counts on', async () => {
    const target = Target.start();
    const images = freshDirectory();
    assert.deepEqual(pycriu('dump', target.pid, images), { restored: false });
    await target.assertGone();
    const stoppedAt = target.count;
    assert.deepEqual(pycriu('restore', images), { pid: target.pid });
    await target.assertCountsOn();
    assert.ok(target.count > stoppedAt);
  });

  it('dumps a process that is to run on, and it counts on', async () => {
    const target = Target.start();
    pycriu('dump', target.pid, freshDirectory(), 'leave-running');
    await target.assertCountsOn();
  });

  it('dumps to and restores from a directory that only its own mount namespace has', async () => {
    const target = Target.start();
    const command = 'mount -t tmpfs tmpfs /mnt && exec "$0" "$@"';
    const unshare = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', command];
    const { files, pid } = pycriuUnder<{ files: string[]; pid: number }>(
      unshare,
      'dump_and_restore',
      target.pid,
      '/mnt/images',
    );
    assert.ok(files.includes('inventory.img') && files.includes('pycriu.log'), files.join(' '));
    assert.equal(existsSync('/mnt/images'), false);
    assert.equal(pid, target.pid);
    await target.assertCountsOn();
  });

  it('pre-dumps once and closes the connection', async function () {
    needsSoftDirty(this);
    const target = Target.start();
    const images = freshDirectory();
    pycriu('pre_dump', target.pid, images);
    assert.ok(readdirSync(images).some((file) => file.startsWith('pages-')));
    await target.assertCountsOn();
  });

  it('pre-dumps with SINGLE_PRE_DUMP', async function () {
    needsSoftDirty(this);
    const target = Target.start();
    const images = freshDirectory();
    const reply = pycriu('single_pre_dump', target.pid, images);
    assert.deepEqual(reply, { type: ReqType.SINGLE_PRE_DUMP, success: true });
    await target.assertCountsOn();
  });

  it('pre-dumps in a loop that a dump ends, and restores the last of the images', async function () {
    needsSoftDirty(this);
    const target = Target.start();
    const images = freshDirectory();
    const { replies } = pycriu<{ replies: unknown[] }>('pre_dump_loop', target.pid, images, 2);
    assert.deepEqual(replies, [
      [ReqType.PRE_DUMP, true],
      [ReqType.PRE_DUMP, true],
      [ReqType.DUMP, true],
    ]);
    await target.assertGone();
    assert.equal(existsSync(join(images, '3', 'parent')), true);
    pycriu('restore', join(images, '3'));
    await target.assertCountsOn();
  });

  it('gets a page server that outlives its connection, dumps to it and restores the images that it wrote', async () => {
    const target = Target.start();
    const images = freshDirectory();
    const answer = pycriu<{ success: boolean; port: number }>('page_server', target.pid, images);
    assert.equal(answer.success, true, JSON.stringify(answer));
    assert.ok(answer.port > 0);
    await target.assertGone();
    await eventually('the page server has everything and leaves', () => pageServers().length === 0);
    pycriu('restore', images);
    await target.assertCountsOn();
  });

  it('gets a page server as a child of its engine, and waits for it on the same connection', async () => {
    const target = Target.start();
    const images = freshDirectory();
    const answer = pycriu<{ port: number; status: number }>('page_server_child', target.pid, images);
    assert.equal(answer.status, 0);
    pycriu('restore', images);
    await target.assertCountsOn();
  });

  it('acknowledges every notification of a dump and of a restore', async () => {
    const target = Target.start();
    const { dump, restore } = pycriu<{
      dump: { scripts: string[]; success: boolean };
      restore: { scripts: string[]; success: boolean; pid: number };
    }>('notifications', target.pid, freshDirectory());
    assert.deepEqual(dump, { scripts: ['pre-dump', 'query-ext-files', 'post-dump'], success: true });
    assert.equal(restore.success, true);
    assert.equal(restore.pid, target.pid);
    for (const script of ['pre-restore', 'post-restore', 'pre-resume', 'post-resume']) {
      assert.ok(restore.scripts.includes(script), restore.scripts.join(' '));
    }
    await target.assertCountsOn();
  });

  it('receives the master of a restored terminal along with its notification', async () => {
    // This is the only descriptor that the service takes from an engine of alice's. CRIU opens /dev/pts/ptmx, which only root may
    // open unless the file system is mounted with ptmxmode=; without that option alice gets no terminal back.
    const isForAll = (statSync('/dev/pts/ptmx').mode & 0o006) === 0o006;
    for (const user of isForAll ? (['root', 'alice'] as const) : (['root'] as const)) {
      const answer = pycriuUnder<{ scripts: string[]; fds: number; answer: string }>(
        as(user),
        'orphan_terminal',
        directoryOf(user),
      );
      assert.ok(answer.scripts?.includes('orphan-pts-master'), `${user}: ${JSON.stringify(answer)}`);
      assert.deepEqual([answer.fds, answer.answer], [1, 'after\r\nafter\r\n']);
    }
  });
});
