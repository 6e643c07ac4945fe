/** A job of a shell that is stopped (SIGSTOP, Ctrl-Z) when it is dumped. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { unshackled } from '../hostile/support/images.ts';
import { as, directoryOf, type User } from '../hostile/support/people.ts';
import { binary, eventually } from './support/bench.ts';
import { criuctlAs, failed, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { statusLine } from './support/proc.ts';
import { Target } from './support/targets.ts';

const shells: ChildProcess[] = [];

/** A counting job with a process group of its own, in the session of a shell that stays. */
async function startJob(user: User): Promise<Target> {
  const file = join(directoryOf(user), 'count');
  const script = 'set -m; "$@" </dev/null >/dev/null 2>&1 & echo $!; read -r';
  const own = user === 'root' ? [] : as(user, ...unshackled());
  const [program, ...argv] = [...own, 'setsid', '--wait', 'bash', '-c', script, 'bash', binary('job'), file];
  const shell = spawn(program!, argv, { stdio: ['pipe', 'pipe', 'ignore'] });
  shells.push(shell);
  const [line] = (await once(shell.stdout!, 'data')) as [Buffer];
  const target = new Target(Number(line.toString()), file);
  await eventually('it counts', () => existsSync(file) && target.count > 0);
  return target;
}

async function stop(target: Target): Promise<void> {
  process.kill(target.pid, 'SIGSTOP');
  await isStopped(target);
}

function isStopped(target: Target): Promise<void> {
  return eventually('it is stopped', () => /^T/.test(statusLine(target.pid, 'State') ?? ''));
}

describe('a stopped job of a shell', () => {
  afterEach(() => {
    for (const shell of shells.splice(0)) shell.stdin?.end();
  });

  const dump = (user: User, target: Target, images: string, ...more: string[]) =>
    criuctlAs(user, 'dump', `${target.pid}`, '-D', images, '--shell-job', ...more);

  it('is not ended by a dump of root’s, which could not bring it back, and comes back if it was continued first', async () => {
    const target = await startJob('root');
    await stop(target);
    const refused = dump('root', target, join(directoryOf('root'), 'refused'));
    failed(refused, 3, /process \d+ of the tree is stopped, .*SIGHUP/, /kill -CONT/);
    await isStopped(target);
    process.kill(target.pid, 'SIGCONT');
    const images = join(directoryOf('root'), 'images');
    must(dump('root', target, images));
    await target.assertGone();
    must(criuctlAs('root', 'restore', '-D', images, '--shell-job'));
    await target.assertCountsOn();
  });

  it('is dumped by root if it stays, with a warning', async () => {
    const target = await startJob('root');
    await stop(target);
    const { stderr } = must(dump('root', target, join(directoryOf('root'), 'images'), '-R'));
    assert.match(stderr, /is stopped, and the kernel would end its process group/);
    process.kill(target.pid, 'SIGCONT');
    await target.assertCountsOn();
  });

  it('comes back to a user as stopped, and counts on when it is continued', async () => {
    const target = await startJob('alice');
    await stop(target);
    const images = join(directoryOf('alice'), 'images');
    must(dump('alice', target, images));
    await target.assertGone();
    must(criuctlAs('alice', 'restore', '-D', images, '--shell-job'));
    await isStopped(target);
    process.kill(target.pid, 'SIGCONT');
    await target.assertCountsOn();
  });
});
