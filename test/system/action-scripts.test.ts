/** criuctl --action-script: a program of the user's at each step of CRIU. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { directoryOf, targetOf, type User, uids } from '../hostile/support/people.ts';
import { eventually } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { isFree } from './support/proc.ts';

/** A program of this user's, which notes its steps, and fails at one of them. */
class Script {
  readonly path: string;
  readonly #notes: string;

  constructor(user: User, failsAt = 'nothing', also = '') {
    const directory = directoryOf(user);
    this.path = join(directory, 'script');
    this.#notes = join(directory, 'notes');
    const lines = [
      '#!/bin/sh',
      `echo "$CRTOOLS_SCRIPT_ACTION $(id -u) \${CRTOOLS_INIT_PID-none} $(ls "$CRTOOLS_IMAGE_DIR" | grep -c inventory.img)" >>${this.#notes}`,
      'echo from the script',
      also,
      `[ "$CRTOOLS_SCRIPT_ACTION" != ${failsAt} ] || exit 3`,
    ];
    writeFileSync(this.path, `${lines.join('\n')}\n`);
    chmodSync(this.path, 0o755);
    chownSync(this.path, uids[user], uids[user]);
  }

  get notes(): string[] {
    return existsSync(this.#notes) ? readFileSync(this.#notes, 'utf8').trim().split('\n') : [];
  }
}

describe('a script of the user at the steps of CRIU', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`runs as ${user} at a dump and a restore, and what it writes is no result`, async () => {
      const target = targetOf(user);
      const { pid } = target;
      const images = directoryOf(user);
      const script = new Script(user);
      const uid = uids[user];
      const dumped = must(criuctlAs(user, 'dump', `${pid}`, '-D', images, '--action-script', script.path));
      assert.equal(dumped.stdout, `${images}\n`);
      assert.match(dumped.stderr, /from the script/);
      assert.deepEqual(
        [script.notes[0], script.notes.at(-1)],
        [`pre-dump ${uid} ${pid} 0`, `post-dump ${uid} ${pid} 1`],
      );
      await eventually('it has ended', () => isFree(pid));
      const other = new Script(user);
      const restored = must(criuctlAs(user, 'restore', '-D', images, '--action-script', other.path));
      assert.equal(restored.stdout, `${pid}\n`);
      assert.deepEqual(
        other.notes.filter((note) => !note.startsWith('network')),
        [
          `pre-restore ${uid} none 1`,
          `post-restore ${uid} ${pid} 1`,
          `pre-resume ${uid} ${pid} 1`,
          `post-resume ${uid} ${pid} 1`,
        ],
      );
      await target.assertCountsOn();
    });

    for (const step of ['pre-dump', 'post-dump']) {
      it(`fails the dump of ${user} at ${step}: the process counts on, and there are no images`, async () => {
        const target = targetOf(user);
        const images = directoryOf(user);
        const script = new Script(user, step);
        const dump = criuctlAs(user, 'dump', `${target.pid}`, '-D', images, '--action-script', script.path);
        failed(dump, 1, /^criuctl: DUMP failed: the script \S+ ended with status 3 at /m);
        await target.assertCountsOn();
        assert.deepEqual(
          readdirSync(images).filter((name) => name.endsWith('.img')),
          [],
        );
      });
    }

    it(`fails the restore of ${user} before the program runs, and only warns afterwards`, async () => {
      const target = targetOf(user);
      const images = directoryOf(user);
      must(criuctlAs(user, 'dump', `${target.pid}`, '-D', images));
      await eventually('it has ended', () => isFree(target.pid));
      const restore = (step: string) =>
        criuctlAs(user, 'restore', '-D', images, '--action-script', new Script(user, step).path);
      for (const step of ['pre-restore', 'post-restore']) {
        failed(restore(step), 1, /^criuctl: RESTORE failed: the script \S+ ended with status 3 at /m);
        await eventually('nothing was restored', () => isFree(target.pid));
      }
      assert.match(
        must(restore('post-resume')).stderr,
        /warning: the script \S+ ended with status 3 at post-resume/,
      );
      await target.assertCountsOn();
    });
  }

  it('saves a file of alice’s as it is while the process stands still', async () => {
    const target = targetOf('alice');
    const images = directoryOf('alice');
    const saved = join(images, 'saved');
    const script = new Script(
      'alice',
      'nothing',
      `[ "$CRTOOLS_SCRIPT_ACTION" != post-dump ] || cp ${target.file} ${saved}`,
    );
    must(criuctlAs('alice', 'dump', `${target.pid}`, '-D', images, '-R', '--action-script', script.path));
    await target.assertCountsOn();
    await target.kill();
    await eventually('it has ended', () => isFree(target.pid));
    copyFileSync(saved, target.file);
    must(criuctlAs('alice', 'restore', '-D', images));
    await target.assertCountsOn();
  });
});
