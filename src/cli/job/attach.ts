/** criuctl attach NAME: the terminal of a job. */
import { exitCodes } from '../exit-codes.ts';
import { Obstacle } from '../invocation.ts';
import { type Context, jobOf } from './context.ts';
import { stateInWords } from './words.ts';

/** @returns the process whose terminal is held. @throws Obstacle */
export function attachable(context: Context): number {
  const job = jobOf(context);
  const { spec, state } = job;
  if (!spec?.pty) {
    throw new Obstacle(
      exitCodes.refused,
      `Job ${job.name} was started without a terminal`,
      `criuctl run NAME --pty gives a job one; the output of this one: criuctl logs ${job.name} --follow`,
    );
  }
  if (state.is !== 'running') {
    throw new Obstacle(
      exitCodes.refused,
      `Job ${job.name} ${stateInWords(state)}`,
      ...(state.is === 'suspended' || state.is === 'interrupted'
        ? [`Go on with it first: criuctl resume ${job.name}`]
        : []),
    );
  }
  return state.pid;
}
