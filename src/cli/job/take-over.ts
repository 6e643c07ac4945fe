/** A job whose machine is gone for good, or has another machine-id now, goes on here: its user says so, and no file can tell. */
import type { Job } from '../../job/job.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';
import type { Context } from './context.ts';

/** @throws Obstacle if the job's tree, or the criuctl that watches it, holds the job's lock on its machine now. */
export async function takeOver({ invocation }: Context, job: Job): Promise<void> {
  const lock = await job.lock(invocation.signal);
  try {
    const { state } = job;
    if (state.is !== 'running-elsewhere') return;
    if (job.run?.watched) {
      throw new Obstacle(
        exitCodes.refused,
        `Job ${job.name} runs on ${state.host} now: its lock is held there`,
        `End it there first: criuctl suspend ${job.name}`,
      );
    }
    job.forgetRun();
  } finally {
    lock.release();
  }
}
