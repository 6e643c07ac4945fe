/** State after the machine has been started again: the second run of run.sh. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { eventually, run, succeeds } from './support/bench.ts';
import { ask, withOpen } from './support/client.ts';
import { leastAhead, uptime } from './support/clocks.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { itElsewhere } from './support/it.ts';
import { outputOf, TestJob } from './support/jobs.ts';
import { bootId, findLeft, findLeftJobs, type LeftWaiting } from './support/other-boot.ts';
import { Target } from './support/targets.ts';
import { show } from './support/unit.ts';

/**
 * The number of steps that another process takes meanwhile, by relative sleeps of 10 ms. That is far less than the time for which
 * a program would stand still whose clock has jumped back.
 */
const soon = 500;

/** The program takes its next step before the other process has taken many. */
async function assertGoesOnAtOnce(target: Target, other: Target): Promise<void> {
  const [before, begun] = [target.count, other.count];
  await eventually('one of them goes on', () => target.count > before || other.count > begun + soon);
  assert.ok(target.count > before, `it stands still at ${before}, while another has made ${soon} steps`);
}

describe('over a reboot', () => {
  const left = findLeft();

  itElsewhere('the socket stays enabled and listens', () => {
    assert.notEqual(bootId(), left.bootId);
    assert.equal(succeeds('systemctl', 'is-enabled', 'criu.socket'), true);
    assert.equal(show('criu.socket', 'ActiveState').ActiveState, 'active');
  });

  itElsewhere('jobs were suspended by the shutdown, and go on by themselves', async () => {
    for (const { user, name, pid, lines } of findLeftJobs()) {
      const job = new TestJob(user, false, name);
      await eventually(`the job of ${user} runs`, () => job.now.state === 'running');
      const { from, checkpoints } = job.now;
      assert.deepEqual([job.now.pid, from, checkpoints], [pid, 1, [1]]);
      await job.goesOn();
      assert.ok(job.lines > lines, `${job.lines} lines, and ${lines} before the reboot`);
      // The last line may be incomplete.
      const whole = job.output.split('\n').slice(0, -1);
      assert.equal(`${whole.join('\n')}\n`, outputOf(whole.length));
      must(job.ask('suspend'));
      must(job.ask('remove'));
    }
  });

  itElsewhere('the pid counter was moved to the upper half before a user could log in', () => {
    const [moved, admitted] = ['criu-pids.service', 'systemd-user-sessions.service'].map((unit) =>
      Number(show(unit, 'ActiveEnterTimestampMonotonic').ActiveEnterTimestampMonotonic),
    );
    assert.ok(moved! > 0 && moved! <= admitted!, `${moved} and ${admitted}`);
    // The bench sets the counter once more, for the tests (test/bench/README.md).
    const told = run('journalctl', '--boot', '--unit=criu-pids.service', '--output=cat', '--no-pager');
    const [, place, pids] = /^The pid counter is moved from \d+ to (\d+) of (\d+)$/m.exec(told) ?? [];
    assert.ok(Number(place) >= Number(pids) / 2, told);
  });

  itElsewhere('a process that was dumped before the reboot counts on from its last number', async () => {
    const target = new Target(left.pid, left.countFile);
    assert.equal(target.alive, false);
    assert.equal(target.count, left.count);
    const reply = await withOpen([left.images], (fd) =>
      ask({ type: ReqType.RESTORE, opts: { images_dir_fd: fd, log_file: 'restore.log', log_level: 4 } }),
    );
    assert.equal(reply.success, true, JSON.stringify(reply));
    await target.assertCountsOn();
    assert.ok(target.count > left.count);
    await target.kill();
  });

  itElsewhere('alice’s programs that wait for moments of their clocks go on at once', async function () {
    this.timeout(900_000);
    const other = Target.start();
    for (const { wait, images, pid, countFile, clock } of left.waiting) {
      const distance = clock - uptime();
      assert.ok(distance > leastAhead, `the clock of ${wait} is only ${distance} s ahead`);
      const target = new Target(pid, countFile);
      must(criuctlAs('alice', 'restore', '-D', images));
      await assertGoesOnAtOnce(target, other);
    }
    await other.kill();
  });

  itElsewhere('alice dumps one of them and has it restored again and again, also by root', async function () {
    this.timeout(900_000);
    const [{ pid, countFile }, ...others] = left.waiting as [LeftWaiting, ...LeftWaiting[]];
    for (const each of others) await new Target(each.pid, each.countFile).kill();
    const [target, other] = [new Target(pid, countFile), Target.start()];
    for (const by of ['alice', 'alice', 'root', 'alice'] as const) {
      const images = directoryOf('alice');
      must(criuctlAs('alice', 'dump', String(pid), '-D', images));
      await target.assertGone();
      must(criuctlAs(by, 'restore', '-D', images, ...(by === 'root' ? ['--trust-images'] : [])));
      await assertGoesOnAtOnce(target, other);
    }
    await target.kill();
    await other.kill();
  });
});
