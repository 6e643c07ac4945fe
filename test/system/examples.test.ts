/** The example programs of the package, used as the documentation tells a reader, from the place where the package puts them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { as, directoryOf, targetOf, type User } from '../hostile/support/people.ts';
import { commandMs, freshDirectory, inVm, run } from './support/bench.ts';
import { it } from './support/it.ts';
import { Target } from './support/targets.ts';

const examples = '/usr/share/doc/criu-service/examples';

/** In the container, the bounding set allows a restore of a user's task only with no_new_privs. */
function startTarget(user: User): Target {
  return user === 'root' ? Target.start() : targetOf(user, ...(inVm ? [] : ['--no-new-privs']));
}

/** Compiled by the Makefile beside it, in a copy, because the package's own files must not change. */
function compiled(): string[] {
  const directory = freshDirectory();
  run('cp', '-r', `${examples}/c`, directory);
  run('chmod', '-R', 'a+rX', directory);
  run('make', '--directory', join(directory, 'c'));
  return [join(directory, 'c', 'checkpoint')];
}

for (const [language, program] of [
  ['C, on libcriu', compiled],
  ['Python, on pycriu', () => ['/usr/bin/python3', `${examples}/python/checkpoint.py`]],
] as const) {
  describe(`the example in ${language}`, () => {
    let command: string[];
    before(() => {
      command = program();
    });

    function runAs(user: User, ...argv: string[]) {
      const [file, ...rest] = [...as(user), ...command, ...argv];
      const { status, stdout, stderr } = spawnSync(file!, rest, { encoding: 'utf8', timeout: commandMs });
      return { status, output: stdout + stderr };
    }

    for (const user of ['root', 'alice'] as const) {
      it(`dumps a process of ${user}'s, which is then gone, and restores it, and it counts on`, async () => {
        const target = startTarget(user);
        const images = directoryOf(user);
        assert.deepEqual(runAs(user, 'dump', `${target.pid}`, images), {
          status: 0,
          output: `process ${target.pid} is in ${images}\n`,
        });
        await target.assertGone();
        assert.ok(existsSync(join(images, 'inventory.img')));
        assert.deepEqual(runAs(user, 'restore', images), {
          status: 0,
          output: `process ${target.pid} runs again\n`,
        });
        await target.assertCountsOn();
      });
    }

    it("reports the refusal of a request of alice's for a process of root's", async () => {
      const target = Target.start();
      const images = directoryOf('alice');
      const { status, output } = runAs('alice', 'dump', `${target.pid}`, images);
      assert.equal(status, 1);
      assert.match(output, /Operation not permitted/);
      await target.assertCountsOn();
    });

    it('names the directory that it cannot open', async () => {
      const { status, output } = runAs('root', 'restore', '/nonexistent');
      assert.equal(status, 1);
      assert.match(output, /\/nonexistent: No such file or directory/);
    });

    it('prints its usage', async () => {
      const { status, output } = runAs('root', 'dump');
      assert.equal(status, 2);
      assert.match(output, /^usage: /);
    });
  });
}
