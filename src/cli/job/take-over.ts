/** A job whose machine is gone for good, or has another machine-id now, goes on here: its user says so, and no file can tell. */
import type { Job } from '../../job/job.ts';
import type { Context } from './context.ts';
import { runsAlready } from './words.ts';

/** @throws Obstacle if the job's tree, or the criuctl that watches it, holds the job's lock on its machine now. */
export async function takeOver({ invocation }: Context, job: Job): Promise<void> {
  const lock = await job.lock(invocation.signal);
  try {
    const { state } = job;
    if (state.is !== 'running-elsewhere') return;
    if (job.run?.watched) throw runsAlready(job, state, 'its lock is held there');
    // An end there that did not count, as by a stop of its unit, does not count here.
    job.forgetEnd();
    job.forgetRun();
  } finally {
    lock.release();
  }
}
