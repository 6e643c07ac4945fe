/** criuctl resume: goes on with a job; as ExecStart= of its unit it also starts a new job. */
import type { Job } from '../../job/job.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle, type Outcome } from '../invocation.ts';
import { sortAsides } from './checkpoint.ts';
import { type Context, jobOf, jobOfUnit } from './context.ts';
import { stayWith } from './foreground.ts';
import { beginInUnit, forgetRemoved, inUnit } from './in-unit.ts';
import { requireManager } from './manager.ts';
import { update } from './run.ts';
import { takeOver } from './take-over.ts';
import { runsAlready } from './words.ts';

export async function resume(context: Context): Promise<Outcome> {
  const { invocation } = context;
  const { inUnit: within, foreground, from } = invocation.own.job;
  const job = within ? jobOfUnit(context) : jobOf(context);
  if (!job) return forgetRemoved(context);
  if (within) return beginInUnit(context, job);
  if (!foreground) requireManager();
  if (invocation.own.job.takeOver) await takeOver(context, job);
  if (from !== undefined) await goBackTo(context, from, job);
  await noteOptions(context, job);
  return foreground ? stayWith(context, job) : inUnit(context, job);
}

async function noteOptions({ invocation }: Context, job: Job): Promise<void> {
  if (!invocation.own.restoreFiles) return;
  const lock = await job.lock(invocation.signal);
  try {
    update(job, job.spec!, invocation.own);
  } finally {
    lock.release();
  }
}

/** The job goes on from an older checkpoint, also if it has finished since. */
async function goBackTo(context: Context, from: number, job: Job): Promise<void> {
  const lock = await job.lock(context.invocation.signal);
  try {
    const { checkpoints, state } = job;
    if (!checkpoints.includes(from)) {
      throw new Obstacle(
        exitCodes.refused,
        `Job ${job.name} has no checkpoint ${from}`,
        checkpoints.length === 0 ? 'It has none' : `It has ${checkpoints.join(', ')}`,
      );
    }
    if (state.is === 'running' || state.is === 'running-elsewhere')
      throw runsAlready(job, state, 'it would run twice');
    // What a killed criuctl has left would become the latest afterwards.
    await sortAsides(context, job);
    job.latest = from;
    job.forgetEnd();
  } finally {
    lock.release();
  }
}
