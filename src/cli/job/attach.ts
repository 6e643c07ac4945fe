/** criuctl attach NAME: the terminal of a job. */
import { exitCodes } from '../exit-codes.ts';
import { Obstacle, type Outcome } from '../invocation.ts';
import { type Context, jobOf } from './context.ts';
import { outcomeOf, stateInWords, statusOf } from './words.ts';

export interface Attachable {
  /** The process whose terminal is held. */
  readonly pid: number;
  /** After the end of its process. */
  outcome(): Promise<Outcome>;
}

/** @throws Obstacle */
export function attachable(context: Context): Attachable {
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
  const { verb, own } = context.invocation;
  return {
    pid: state.pid,
    outcome: async () => {
      const settled = await job.settledState();
      const exitCode = settled.is === 'finished' ? statusOf(settled.end) : own.job.suspendedStatus;
      return { ...outcomeOf(verb, job, settled, state), exitCode };
    },
  };
}
