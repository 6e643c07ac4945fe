/** criuctl remove: a job with its checkpoints and logs. */
import { Job } from '../../job/job.ts';
import type { Outcome } from '../invocation.ts';
import { attempt, type Context, jobOf, nameOf } from './context.ts';
import { forgetUnit } from './manager.ts';
import { runsAlready } from './words.ts';

export async function remove(context: Context): Promise<Outcome> {
  const { invocation, home } = context;
  const name = nameOf(invocation);
  if (attempt(home, () => Job.finishRemoval(home, name))) return removed(name);
  const job = jobOf(context);
  const lock = await job.lock(invocation.signal);
  try {
    const { state } = job;
    if (state.is === 'running' || state.is === 'running-elsewhere')
      throw runsAlready(job, state, 'its files are in use');
    if (invocation.own.job.dir === undefined) await forgetUnit(job.name);
    job.remove(home);
  } finally {
    lock.release();
  }
  return removed(name);
}

function removed(name: string): Outcome {
  return { sentence: `Job ${name} is removed`, value: '', json: { verb: 'remove', job: name } };
}
