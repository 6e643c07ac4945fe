/** Jobs: started once, they outlive whatever ends their processes, and never run twice. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from '../hostile/support/guarantee.ts';
import { as, directoryOf, uids } from '../hostile/support/people.ts';
import { ownManager } from '../hostile/support/units.ts';
import { eventually, run, script, succeeds } from './support/bench.ts';
import { criuctl, failed, must } from './support/criuctl.ts';
import { TestJob, withJobsOf } from './support/jobs.ts';
import { cgroupOf, childrenOf, isAlive } from './support/proc.ts';

const exited = (child: { once(event: 'exit', listener: (code: number | null) => void): unknown }) =>
  new Promise<number | null>((resolve) => child.once('exit', resolve));

for (const user of ['alice', 'root'] as const) {
  describe(`a job of ${user === 'root' ? 'root’s' : 'alice’s'}`, () => {
    withJobsOf(user);

    it('is checkpointed, suspended and resumed, and what it writes is what an uninterrupted run writes', async () => {
      const job = new TestJob(user);
      must(job.ask('run', ...job.steps(7)));
      await eventually('it writes', () => job.lines > 3);
      const { state, pid } = job.now;
      assert.equal(state, 'running');
      assert.match(cgroupOf(pid!), new RegExp(`criu-job@${job.name}\\.service`));
      assert.equal(must(job.ask('checkpoint')).stdout.trim(), '1');
      await job.goesOn();
      assert.equal(must(job.ask('suspend')).stdout.trim(), '2');
      assert.equal(isAlive(pid!), false);
      assert.equal(job.now.state, 'suspended');
      const before = job.lines;
      must(job.ask('resume'));
      assert.deepEqual([job.now.state, job.now.from, job.now.pid], ['running', 2, pid]);
      assert.match(cgroupOf(pid!), new RegExp(`criu-job@${job.name}\\.service`));
      assert.ok(job.lines >= before);
      await job.letEnd();
      assert.equal(job.ask('wait').status, 7);
      job.assertWhole();
      assert.match(must(job.ask('run', ...job.steps(7))).stdout, /finished/);
      assert.deepEqual([job.now.state, job.now.status], ['finished', 7]);
      await eventually('its unit has ended', () => !asksManager(user, 'is-active', job.name));
      await eventually('its unit is disabled', () => !asksManager(user, 'is-enabled', job.name));
      must(job.ask('remove'));
      assert.equal(existsSync(job.path), false);
    });

    it('that is killed goes on from its last checkpoint, and keeps what it had written since beside its output', async () => {
      const job = new TestJob(user);
      must(job.ask('run', ...job.steps()));
      await eventually('it writes', () => job.lines > 3);
      must(job.ask('checkpoint'));
      await job.goesOn();
      const { pid } = job.now;
      process.kill(pid!, 'SIGKILL');
      await eventually('it is interrupted', () => job.now.state === 'interrupted');
      await eventually('its unit has ended', () => !asksManager(user, 'is-active', job.name));
      must(job.ask('run', ...job.steps()));
      assert.equal(job.now.from, 1);
      const kept = readdirSync(job.path).filter((name) => name.startsWith('stdout.after-'));
      assert.equal(
        kept.length,
        1,
        JSON.stringify([
          readdirSync(job.path),
          job.now,
          manager(user, 'status', `criu-job@${job.name}.service`),
        ]),
      );
      await job.letEnd();
      assert.equal(job.ask('wait').status, 0);
      job.assertWhole();
    });

    it('goes on in its unit while it starts and ends other processes all the time', async () => {
      const job = new TestJob(user);
      const script = 'i=0; while :; do i=$((i+1)); /bin/echo $i; done';
      must(job.ask('run', '--', '/bin/sh', '-c', script));
      for (let round = 0; round < 5; round += 1) {
        await job.goesOn();
        must(job.ask('suspend'));
        must(job.ask('resume'));
        const { state, pid } = job.now;
        assert.equal(state, 'running', manager(user, 'show', `criu-job@${job.name}.service`));
        for (const each of [pid!, ...childrenOf(pid!)])
          assert.match(cgroupOf(each), new RegExp(`criu-job@${job.name}\\.service`));
      }
      await job.goesOn();
      must(job.ask('suspend'));
      must(job.ask('remove'));
    });

    it('is suspended by a stop of its unit, and resumed by a start', async () => {
      const job = new TestJob(user);
      must(job.ask('run', ...job.steps()));
      await eventually('it writes', () => job.lines > 3);
      manager(user, 'stop', `criu-job@${job.name}.service`);
      assert.equal(job.now.state, 'suspended');
      manager(user, 'start', `criu-job@${job.name}.service`);
      assert.equal(job.now.state, 'running');
      await job.letEnd();
      assert.equal(job.ask('wait').status, 0);
      job.assertWhole();
    });
  });
}

function manager(user: 'alice' | 'root', ...argv: string[]): string {
  return user === 'root' ? run('systemctl', ...argv) : ownManager(...argv);
}

function asksManager(user: 'alice' | 'root', question: string, name: string): boolean {
  const [file, ...rest] =
    user === 'root'
      ? ['systemctl']
      : [...as('alice'), 'env', `XDG_RUNTIME_DIR=/run/user/${uids.alice}`, 'systemctl', '--user'];
  return succeeds(file!, ...rest, question, '--quiet', `criu-job@${name}.service`);
}

describe('a job', () => {
  withJobsOf('alice');

  it('that is started twice at once runs once', async () => {
    const job = new TestJob('alice');
    const both = [1, 2].map(() => exited(job.start('run', ...job.steps())));
    assert.deepEqual(await Promise.all(both), [0, 0]);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });

  it('in the foreground is suspended by its signal, and the same command goes on until the job’s own status', async () => {
    const job = new TestJob('alice', true);
    const command = ['--foreground', '--on-signal', 'USR1', ...job.steps(9)];
    for (let round = 1; round <= 3; round += 1) {
      const stays = job.start('run', ...command);
      const end = exited(stays);
      const before = job.lines;
      await eventually('it goes on', () => job.lines > before + 5);
      run(
        'pkill',
        '--signal',
        'USR1',
        '--uid',
        'alice',
        '--full',
        `^(/usr/bin/node (-[^ ]+ )*)?[^ ]*criuctl run ${job.name} `,
      );
      assert.equal(await end, 85);
      assert.equal(job.now.state, 'suspended');
    }
    const last = exited(job.start('run', ...command));
    await job.letEnd();
    assert.equal(await last, 9);
    job.assertWhole();
    assert.equal(job.ask('run', ...command).status, 9);
  });

  it('whose newest checkpoint is damaged goes on from the one before', async () => {
    const job = new TestJob('alice');
    must(job.ask('run', ...job.steps()));
    await eventually('it writes', () => job.lines > 3);
    must(job.ask('checkpoint'));
    await job.goesOn();
    must(job.ask('suspend'));
    const images = join(job.path, 'checkpoints', '2');
    const [pages] = readdirSync(images).filter((name) => name.startsWith('pages-'));
    truncateSync(join(images, pages!), 4096);
    must(job.ask('resume'));
    assert.equal(job.now.from, 1);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });

  it('with an interval is checkpointed again and again, and keeps as many checkpoints as it should', async () => {
    const job = new TestJob('alice');
    must(job.ask('run', '--every', '1s', '--keep', '2', ...job.steps()));
    await eventually('it has had some', () => (job.now.latest ?? 0) >= 4);
    // The oldest is removed after the newest has its name.
    await eventually('it keeps two', () => job.now.checkpoints.length <= 2);
    assert.equal(job.now.state, 'running');
    must(job.ask('suspend'));
    assert.equal(job.now.state, 'suspended');
  });

  it('that would not come back runs on after a checkpoint, and a stop of its unit is no end of it', async () => {
    const job = new TestJob('alice');
    const block = join(directoryOf('alice'), 'block');
    const command = ['--', '/usr/bin/python3', script('blocked.py'), '1000000', '0.05', block, job.endFile];
    must(job.ask('run', ...command));
    await eventually('it writes', () => job.lines > 3);
    must(job.ask('checkpoint'));
    writeFileSync(block, '');
    await job.goesOn();
    const refused = job.ask('suspend');
    assert.equal(refused.status, 3, JSON.stringify(refused));
    assert.match(refused.stderr, /would not come back.*journal/s);
    assert.match(job.now.failure ?? '', /would not come back/);
    await job.goesOn();
    manager('alice', 'stop', `criu-job@${job.name}.service`);
    assert.equal(job.now.state, 'interrupted');
    rmSync(block);
    must(job.ask('run', ...command));
    assert.equal(job.now.from, 1);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
  });

  it('of root’s is not begun in a directory that others can write', async () => {
    const alices = directoryOf('alice');
    for (const directory of [alices, '/tmp']) {
      const refused = criuctl('run', 'x', '--foreground', '--dir', directory, '--', '/bin/true');
      failed(refused, 3, /--dir refused/, /what root runs/);
      assert.equal(existsSync(join(directory, 'x')), false);
    }
  });

  it('has no new checkpoint on a full disk, keeps the last one, and runs on', async () => {
    const job = new TestJob('alice', true);
    run('mount', '-t', 'tmpfs', '-o', 'size=9m,mode=700,uid=1500,gid=1500', 'tmpfs', job.home);
    try {
      const stays = job.start('run', '--foreground', '--keep', '9', ...job.steps());
      const end = exited(stays);
      await eventually('it writes', () => job.lines > 3);
      must(job.ask('checkpoint'));
      let failed = must(job.ask('checkpoint'));
      for (let more = 0; failed.status === 0 && more < 5; more += 1) failed = job.ask('checkpoint');
      assert.notEqual(failed.status, 0);
      assert.match(failed.stderr, /space/);
      const { checkpoints, latest, failure } = job.now;
      assert.equal(latest, checkpoints.at(-1));
      assert.match(failure ?? '', /space/);
      assert.ok(readdirSync(join(job.path, 'checkpoints')).every((name) => /^\d+$/.test(name)));
      rmSync(join(job.path, 'checkpoints', '1'), { recursive: true });
      await job.goesOn();
      must(job.ask('suspend'));
      assert.equal(await end, 85);
    } finally {
      run('umount', '--lazy', job.home);
    }
  });

  it('with another command under its name is refused, and left as it is', async () => {
    const job = new TestJob('alice');
    must(job.ask('run', ...job.steps()));
    const other = job.ask('run', '--', '/bin/true');
    assert.equal(other.status, 3, JSON.stringify(other));
    assert.match(other.stderr, /has another command/);
    await job.goesOn();
    must(job.ask('suspend'));
  });

  it('of which a killed criuctl has left complete images goes on from these', async () => {
    const job = new TestJob('alice');
    must(job.ask('run', ...job.steps()));
    await eventually('it writes', () => job.lines > 3);
    must(job.ask('suspend'));
    // As after a SIGKILL between the end of the dump and the name of its directory.
    run('mv', join(job.path, 'checkpoints', '1'), join(job.path, 'checkpoints', '.new-1'));
    rmSync(join(job.path, 'latest'));
    must(job.ask('run', ...job.steps()));
    assert.equal(job.now.from, 1);
    await job.letEnd();
    assert.equal(job.ask('wait').status, 0);
    job.assertWhole();
    assert.equal(readFileSync(join(job.path, 'end'), 'utf8'), 'exited 0\n');
  });
});
