/** The last of the tests before the machine is started again (run.sh). after-reboot.test.ts is the other half. */
import { ReqType } from '../../src/protocol/messages.ts';
import { directoryOf } from '../hostile/support/people.ts';
import { eventually, freshDirectory, inVm } from './support/bench.ts';
import { ask, withOpen } from './support/client.ts';
import { ahead, aheadOfUs, leastAhead, startWaiting, uptime, waits } from './support/clocks.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { prepareForJobs, steps, TestJob } from './support/jobs.ts';
import { bootId, type LeftWaiting, leave, leaveJobs } from './support/other-boot.ts';
import { Target } from './support/targets.ts';

/** The uptime of the machine when this run began; that of the next boot begins no later. */
const begun = uptime() - process.uptime();

/** What the tests after the reboot take until they restore a process, with room. */
const untilRestored = 180;

/** More than a test waits for. */
const endless = steps(1_000_000, 0.05);

describe('over a reboot', () => {
  it('jobs of alice’s and root’s run, and nobody stops them', async () => {
    prepareForJobs('alice');
    const jobs = (['alice', 'root'] as const).map((user) => new TestJob(user, false, `reboot-of-${user}`));
    for (const job of jobs) {
      must(job.ask('run', ...endless));
      await eventually('it writes', () => job.lines > 3);
    }
    leaveJobs(
      jobs.map((job) => ({
        user: job.user as 'alice' | 'root',
        name: job.name,
        pid: job.now.pid!,
        lines: job.lines,
      })),
    );
  });

  it('a process is dumped, and alice’s programs, which wait for moments of their clocks', async function () {
    this.timeout(900_000);
    // A container has the uptime of its host, before and after its reboot.
    const under = inVm ? [] : aheadOfUs;
    if (inVm) {
      await eventually(
        'the next boot is younger',
        () => uptime() > begun + untilRestored + leastAhead,
        (untilRestored + leastAhead + 10) * 1000,
      );
    }
    const waiting: LeftWaiting[] = [];
    for (const [wait, command] of Object.entries(waits)) {
      const target = startWaiting('alice', command, under);
      await target.assertCountsOn();
      const images = directoryOf('alice');
      must(criuctlAs('alice', 'dump', String(target.pid), '-D', images));
      await target.assertGone();
      const clock = uptime() + (inVm ? 0 : ahead);
      waiting.push({ wait, images, pid: target.pid, countFile: target.file, clock });
    }

    const images = freshDirectory();
    const target = Target.start();
    await withOpen([images], async (fd) => {
      await ask({ type: ReqType.DUMP, opts: { images_dir_fd: fd, pid: target.pid } });
    });
    await target.assertGone();
    leave({
      bootId: bootId(),
      waiting,
      images,
      pid: target.pid,
      countFile: target.file,
      count: target.count,
    });
  });
});
