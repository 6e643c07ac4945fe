/** criuctl remove: a job with its checkpoints and logs. */
import { exitCodes } from '../exit-codes.ts';
import { Obstacle, type Outcome } from '../invocation.ts';
import { type Context, jobOf } from './context.ts';
import { forgetUnit } from './manager.ts';

export async function remove(context: Context): Promise<Outcome> {
  const job = jobOf(context);
  const lock = await job.lock(context.invocation.signal);
  try {
    const { state } = job;
    if (state.is === 'running' || state.is === 'running-elsewhere') {
      throw new Obstacle(
        exitCodes.refused,
        `Job ${job.name} runs, and its files are in use`,
        `Suspend it first: criuctl suspend ${job.name}`,
      );
    }
    if (context.invocation.own.job.dir === undefined) await forgetUnit(job.name);
    job.remove();
  } finally {
    lock.release();
  }
  return { sentence: `Job ${job.name} is removed`, value: '', json: { verb: 'remove', job: job.name } };
}
