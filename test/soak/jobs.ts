/** Jobs that are ended, suspended and resumed at any moment, by criuctls that are killed themselves, lose nothing and never run twice. */
import assert from 'node:assert/strict';
import { it } from '../hostile/support/guarantee.ts';
import { ownManager } from '../hostile/support/units.ts';
import { random } from '../support/random.ts';
import { run, succeeds } from '../system/support/bench.ts';
import { outputOf, steps, TestJob, withJobsOf } from '../system/support/jobs.ts';
import { isAlive } from '../system/support/proc.ts';
import { seed } from './seed.ts';

const length = 600;
/** More than any criuctl takes. */
const longestMs = 2_500;
/** A job that is struck no more ends after a few resumes. */
const triesForEach = 20;

export interface Jobs {
  readonly strikes: number;
  readonly number: number;
  /** Seconds of a step: a job is longer than its share of the strikes. */
  readonly pause: number;
  /** A checkpoint costs about half a second of a processor. */
  readonly every: string;
}

export function jobs({ strikes, number, pause, every }: Jobs): void {
  describe('jobs that are struck at any moment', () => {
    withJobsOf('alice');
    it(`write what an uninterrupted run writes (${strikes} strikes, ${number} jobs, seed ${seed})`, async function () {
      this.timeout(0);
      const next = random(seed);
      const pick = <T>(of: readonly T[]): T => of[Math.floor(next() * of.length)]!;
      const struck: Record<string, number> = {};
      const all = Array.from({ length: number }, () => new TestJob('alice'));
      const command = ['--every', every, ...steps(length, pause)];
      for (const job of all) assert.equal(job.ask('run', ...command).status, 0);
      for (let strike = 0; strike < strikes; strike += 1) {
        const job = pick(all);
        const way = pick(ways);
        struck[way] = (struck[way] ?? 0) + 1;
        await carryOut(way, job, command, next() * longestMs);
      }
      // Side by side: each of them may have most of its steps before it.
      for (let left: readonly TestJob[] = all, tries = 0; left.length > 0; tries += 1) {
        assert.ok(tries < triesForEach, JSON.stringify(left[0]?.now));
        for (const job of left) job.ask('run', ...command);
        for (const job of left) job.ask('wait');
        left = left.filter((job) => job.now.state !== 'finished');
      }
      for (const job of all) {
        assert.equal(job.now.status, 0);
        assert.equal(job.output, outputOf(length), `job ${job.name}: ${JSON.stringify(job.now)}`);
      }
      console.log(
        `      ${Object.entries(struck)
          .map(([way, count]) => `${count} ${way}`)
          .join(', ')}`,
      );
    });
  });
}

const ways = [
  'ended',
  'suspended',
  'struck in a suspend',
  'struck in a checkpoint',
  'struck in a run',
  'stopped with its unit',
  'left by the service',
] as const;

async function carryOut(
  way: (typeof ways)[number],
  job: TestJob,
  command: readonly string[],
  moment: number,
): Promise<void> {
  switch (way) {
    case 'ended': {
      const { pid } = job.now;
      if (pid !== null && isAlive(pid)) process.kill(pid, 'SIGKILL');
      return;
    }
    case 'suspended':
      job.ask('suspend');
      return;
    case 'struck in a suspend':
      return struckIn(job, moment, 'suspend');
    case 'struck in a checkpoint':
      return struckIn(job, moment, 'checkpoint');
    case 'struck in a run':
      return struckIn(job, moment, 'run', ...command);
    case 'stopped with its unit':
      ownManager('stop', `criu-job@${job.name}.service`);
      job.ask('run', ...command);
      return;
    case 'left by the service': {
      const asking = job.start('checkpoint');
      const end = new Promise((resolve) => asking.once('exit', resolve));
      await new Promise((resolve) => setTimeout(resolve, moment));
      succeeds('systemctl', 'kill', '--kill-whom=main', '--signal=KILL', 'criu.service');
      await end;
      run('systemctl', 'start', 'criu.service');
    }
  }
}

async function struckIn(
  job: TestJob,
  moment: number,
  verb: string,
  ...argv: readonly string[]
): Promise<void> {
  const asking = job.start(verb, ...argv);
  const end = new Promise((resolve) => asking.once('exit', resolve));
  const timer = setTimeout(() => asking.kill('SIGKILL'), moment);
  await end;
  clearTimeout(timer);
}
