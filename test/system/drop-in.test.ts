/** Unchanged clients that start `criu swrk`, with the directory of the drop-in in front of their PATH. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { as, directoryOf, targetOf, type User, uids } from '../hostile/support/people.ts';
import { binary, eventually, needsSoftDirty, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { it } from './support/it.ts';
import { cursor, records } from './support/journal.ts';
import { pageServers } from './support/proc.ts';
import { pycriuBy } from './support/pycriu.ts';
import { Target } from './support/targets.ts';

const directory = '/usr/lib/criu-service/bin';
const path = `${directory}:/usr/bin:/bin`;
const users: readonly User[] = ['root', 'alice'];

const withDropIn = (user: User): string[] => [...as(user), 'env', `PATH=${path}`];

/** CRIU 4.1's pycriu looks nothing up in the PATH. */
function pycriu<T>(user: User, verb: string, ...argv: (string | number)[]): T {
  return pycriuBy<T>(`${directory}/criu`, as(user), verb, ...argv);
}

/** The program on libcriu (clients/swrk.c): its output by words, and its standard error. */
function libcriu(user: User, ...argv: string[]): { said: string[]; stderr: string } {
  const [file, ...rest] = [...withDropIn(user), binary('swrk'), ...argv];
  const { status, stdout, stderr } = spawnSync(file!, rest, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return { said: stdout.trim().split(' '), stderr };
}

describe('a program that starts criu swrk, with the drop-in in its PATH', () => {
  for (const user of users) {
    it(`dumps a process of ${user}’s by pycriu, as that user and by the service, and restores it`, async () => {
      const since = cursor();
      const target = targetOf(user);
      const images = directoryOf(user);
      assert.deepEqual(pycriu(user, 'dump', target.pid, images), { restored: false });
      await target.assertGone();
      assert.deepEqual(pycriu(user, 'restore', images), { pid: target.pid });
      await target.assertCountsOn();
      const ended = await records(2, `--after-cursor=${since}`, 'CRIU_RESULT=done');
      assert.deepEqual(
        ended.map((each) => [each.CRIU_REQUEST, each.CRIU_CALLER_UID]),
        ['DUMP', 'RESTORE'].map((request) => [request, `${uids[user]}`]),
      );
    });

    it(`dumps a process of ${user}’s by libcriu, with every notification, and restores it`, async () => {
      const target = targetOf(user);
      const images = directoryOf(user);
      const dump = libcriu(user, 'dump', images, `${target.pid}`);
      assert.deepEqual(dump.said, ['pre-dump', 'query-ext-files', 'post-dump', '0'], dump.stderr);
      await target.assertGone();
      const restore = libcriu(user, 'restore', images);
      assert.equal(restore.said.at(-1), `${target.pid}`, restore.stderr);
      for (const script of ['pre-restore', 'post-restore', 'pre-resume', 'post-resume'])
        assert.ok(restore.said.includes(script), restore.said.join(' '));
      await target.assertCountsOn();
    });

    it(`is told to connect to the socket if it is ${user}’s and dumps itself, and runs on`, async () => {
      const words = `a program that dumps itself connects to ${ourAddress}`;
      for (const verb of ['dump-self', 'dump-parent']) {
        const images = directoryOf(user);
        const { said, stderr } = libcriu(user, verb, images);
        // -EBADE: CRIU has failed.
        assert.deepEqual(said, ['-52']);
        assert.ok(stderr.includes(words), stderr);
        assert.deepEqual(readdirSync(images), []);
      }
    });

    it(`is refused a restored child if it is ${user}’s, with the reason`, async () => {
      const target = targetOf(user);
      const images = directoryOf(user);
      libcriu(user, 'dump', images, `${target.pid}`);
      await target.assertGone();
      const { said, stderr } = libcriu(user, 'restore-child', images);
      assert.deepEqual(said, ['-52']);
      assert.match(stderr, /rst_sibling: the restored process would become a child of this service/);
      assert.equal(target.alive, false);
    });
  }

  it('asks for the version, for features, and checks the kernel', () => {
    for (const user of users) {
      const { major, minor } = pycriu<{ major: number; minor: number }>(user, 'version');
      assert.match(run('criu', '--version'), new RegExp(`^Version: ${major}\\.${minor}(\\.|$)`, 'm'));
      assert.equal(pycriu<{ success: boolean }>(user, 'features').success, true);
    }
    pycriu('root', 'check', directoryOf('root'));
    return Promise.resolve();
  });

  it('pre-dumps in a loop that a dump ends, and restores the last of the images', async function () {
    needsSoftDirty(this);
    const target = Target.start();
    const images = directoryOf('root');
    const { replies } = pycriu<{ replies: unknown[] }>('root', 'pre_dump_loop', target.pid, images, 2);
    assert.deepEqual(replies, [
      [ReqType.PRE_DUMP, true],
      [ReqType.PRE_DUMP, true],
      [ReqType.DUMP, true],
    ]);
    await target.assertGone();
    assert.equal(existsSync(join(images, '3', 'parent')), true);
    pycriu('root', 'restore', join(images, '3'));
    await target.assertCountsOn();
  });

  it('gets a page server that outlives its connection, and one that it waits for', async () => {
    for (const verb of ['page_server', 'page_server_child']) {
      const target = Target.start();
      const images = directoryOf('root');
      const answer = pycriu<{ port: number }>('root', verb, target.pid, images);
      assert.ok(answer.port > 0, JSON.stringify(answer));
      await target.assertGone();
      await eventually('the page server leaves', () => pageServers().length === 0);
      pycriu('root', 'restore', images);
      await target.assertCountsOn();
    }
  });

  it('receives the master of a restored terminal along with its notification', async () => {
    // As in pycriu.test.ts: without ptmxmode= only root gets a terminal back.
    const isForAll = (statSync('/dev/pts/ptmx').mode & 0o006) === 0o006;
    for (const user of isForAll ? users : (['root'] as const)) {
      const answer = pycriu<{ fds: number; answer: string }>(user, 'orphan_terminal', directoryOf(user));
      assert.deepEqual([answer.fds, answer.answer], [1, 'after\r\nafter\r\n'], JSON.stringify(answer));
    }
  });

  it('executes the real criu for every other command', () => {
    for (const argv of [['--version'], ['check'], ['check', '--feature', 'nothing-like-this']]) {
      const [ours, theirs] = [`${directory}/criu`, '/usr/sbin/criu'].map((file) => {
        const { status, stdout } = spawnSync(file, argv, { encoding: 'utf8', env: { PATH: path } });
        return { status, stdout };
      });
      assert.deepEqual(ours, theirs);
    }
    return Promise.resolve();
  });
});
