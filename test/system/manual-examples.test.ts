/** Each example of criuctl(1), as it is printed, with a pid of this machine. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, targetOf, type User } from '../hostile/support/people.ts';
import { commandMs, eventually, needsSoftDirty } from './support/bench.ts';
import { criuctlAs, type Ended, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { examplesOf } from './support/manual.ts';
import { isAlive } from './support/proc.ts';
import { Program } from './support/session.ts';
import { gets, Speaker } from './support/speaker.ts';

const [shellJob, likeCriu, large, lostOutput, inScript, ...others] = examplesOf('criuctl.1') as [
  string,
  string,
  string,
  string,
  string,
];

/** These lines in a shell of this user's, in this directory. */
function inShell(user: User, directory: string, lines: string, pid: number): Ended {
  const [file, ...argv] = [...as(user), 'bash', '-ec', lines.replaceAll('4711', `${pid}`)];
  const { status, stdout, stderr } = spawnSync(file!, argv, {
    cwd: directory,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: commandMs,
  });
  return { status, stdout, stderr };
}

describe('the examples of criuctl(1)', () => {
  it('are these; the first one is in "a program at a terminal"', async () => {
    assert.match(shellJob, /^criuctl dump 4711 -D images --shell-job\ncriuctl restore/);
    assert.deepEqual(others, [], 'each further example has a test here');
  });

  for (const user of ['root', 'alice'] as const) {
    it(`dump a job of ${user} with the options of criu`, async () => {
      const program = await Program.start(
        user,
        user === 'root' ? [] : unshackled(),
        'bash --norc -i',
        'bash',
      );
      const directory = directoryOf(user);
      try {
        must(inShell(user, directory, likeCriu, program.pid));
        assert.ok(existsSync(join(directory, 'images', 'dump.log')));
        assert.ok(existsSync(join(directory, 'images', 'inventory.img')));
      } finally {
        program.end();
      }
    });

    it(`give a program of ${user} a file for its lost output, or the next command`, async () => {
      const one = new Speaker(user);
      try {
        await one.start('setsid "$@" 2>&1 | cat >/dev/null');
        await one.dump();
        const [toFile, toCommand] = lostOutput.split('\n') as [string, string];
        must(inShell(user, one.directory, toFile, one.pid));
        const output = join(one.directory, 'output');
        await gets(output, /out \d+\n/g);
        one.end();
        await eventually('it has ended', () => !existsSync(`/proc/${one.pid}`));
        const [file, ...argv] = [...as(user), 'bash', '-c', toCommand];
        spawn(file!, argv, { cwd: one.directory, stdio: 'ignore' });
        await eventually('it runs again', () => isAlive(one.pid));
        await gets(output, /out \d+\n/g);
      } finally {
        one.end();
      }
    });

    it(`tell a script of ${user} the pid`, async () => {
      const target = targetOf(user);
      const directory = directoryOf(user);
      must(criuctlAs(user, 'dump', `${target.pid}`, '-D', join(directory, 'images')));
      await target.assertGone();
      const script = `${inScript}\n[ "$pid" = ${target.pid} ]`;
      assert.match(must(inShell(user, directory, script, target.pid)).stdout, /^\{"verb":"status"/);
      await target.assertCountsOn();
    });
  }

  it('take a copy in two steps', async function () {
    needsSoftDirty(this);
    const target = targetOf('root');
    const directory = directoryOf('root');
    must(inShell('root', directory, large, target.pid));
    assert.ok(existsSync(join(directory, '2', 'inventory.img')));
    await target.assertCountsOn();
  });
});
