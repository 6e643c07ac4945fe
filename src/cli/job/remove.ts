/** criuctl remove: a job with its checkpoints and logs. */
import type { Outcome } from '../invocation.ts';
import { type Context, jobOf } from './context.ts';
import { forgetUnit } from './manager.ts';
import { runsAlready } from './words.ts';

export async function remove(context: Context): Promise<Outcome> {
  const job = jobOf(context);
  const lock = await job.lock(context.invocation.signal);
  try {
    const { state } = job;
    if (state.is === 'running' || state.is === 'running-elsewhere')
      throw runsAlready(job, state, 'its files are in use');
    if (context.invocation.own.job.dir === undefined) await forgetUnit(job.name);
    job.remove(context.home);
  } finally {
    lock.release();
  }
  return { sentence: `Job ${job.name} is removed`, value: '', json: { verb: 'remove', job: job.name } };
}
