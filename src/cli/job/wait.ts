/** criuctl wait: stays until a job does not run any more, and leaves with its status. */
import { atRest } from '../../job/rest.ts';
import type { Outcome } from '../invocation.ts';
import { type Context, jobOf } from './context.ts';
import { outcomeOf, statusOf } from './words.ts';

export async function wait(context: Context): Promise<Outcome> {
  const { own, signal } = context.invocation;
  const job = jobOf(context);
  const before = job.state;
  const state = await atRest(job, signal);
  const exitCode = state.is === 'finished' ? statusOf(state.end) : own.job.suspendedStatus;
  return { ...outcomeOf('wait', job, state, before), exitCode };
}
