/** criuctl checkpoint and criuctl suspend */
import type { Job } from '../../job/job.ts';
import type { Outcome } from '../invocation.ts';
import { inBytes, inTime } from '../words.ts';
import { type Taken, takeCheckpoint } from './checkpoint.ts';
import { type Context, jobOf, jobOfUnit, warn, withoutInterruption } from './context.ts';
import { askForTime, forgetRemoved, intervalOf } from './in-unit.ts';
import { disableUnit, isInUnit, setTimer } from './manager.ts';
import { outcomeOf } from './words.ts';

export async function checkpoint(context: Context): Promise<Outcome> {
  const { invocation } = context;
  const { inUnit } = invocation.own.job;
  const job = jobOf(context);
  // A shutdown stops the unit of a checkpoint, too: a checkpoint that has begun is seen to its end, and the stop of the job waits for it.
  const own = inUnit ? withoutInterruption(context) : context;
  const lock = await job.lock(own.invocation.signal);
  let taken: Taken;
  try {
    taken = await takeCheckpoint(own, job, false);
  } finally {
    lock.release();
  }
  const { every } = job.spec!;
  if (inUnit && every === 'auto') {
    await setTimer(job.name, intervalOf(every, taken.frozenUsec)).catch((error: Error) =>
      warn(`the next checkpoint has no timer: ${error.message.split('\n')[0]}`),
    );
  }
  return told(job, taken, 'checkpoint', `Job ${job.name} runs on; checkpoint ${taken.number} is complete`);
}

export async function suspend(context: Context): Promise<Outcome> {
  const { invocation } = context;
  const { inUnit } = invocation.own.job;
  const job = inUnit ? jobOfUnit(context) : jobOf(context);
  if (!job) return forgetRemoved(context);
  const own = inUnit ? ownPid(job) : undefined;
  // Before it waits for an operation in flight, which may take as long as this one. systemd may end this criuctl, and then the job.
  if (own !== undefined) noteStop(job);
  const patience = own === undefined ? undefined : askForTime(own);
  try {
    return await suspendUnderLock(context, job);
  } finally {
    patience?.end();
  }
}

async function suspendUnderLock(context: Context, job: Job): Promise<Outcome> {
  const { invocation } = context;
  const { inUnit } = invocation.own.job;
  const lock = await job.lock(invocation.signal);
  try {
    const { state } = job;
    if (state.is !== 'running') {
      // systemd also stops a unit whose job has ended, and a job that is suspended stays so.
      if (inUnit && state.is === 'finished') await disableUnit(job.name);
      return outcomeOf('suspend', job, state, state);
    }
    // A job that another criuctl has begun in the foreground is not this unit's to end.
    if (inUnit && !isInUnit(job.name, state.pid)) return outcomeOf('suspend', job, state, state);
    const taken = await takeCheckpoint(context, job, true);
    // A job that its user has suspended stays so over a reboot; systemctl stop leaves that as it is.
    if (!inUnit) await disableUnit(job.name);
    return told(job, taken, 'suspend', `Job ${job.name} is suspended in checkpoint ${taken.number}`);
  } finally {
    lock.release();
  }
}

function noteStop(job: Job): void {
  try {
    job.noteStop();
  } catch (error) {
    warn(`the stop of job ${job.name} cannot be noted: ${(error as Error).message.split(', ')[0]}`);
  }
}

/** The root of the job, if it runs in its unit. */
function ownPid(job: Job): number | undefined {
  const { state } = job;
  return state.is === 'running' && isInUnit(job.name, state.pid) ? state.pid : undefined;
}

function told(
  job: Job,
  { number, parent, bytes, frozenUsec, warnings }: Taken,
  verb: string,
  sentence: string,
): Outcome {
  return {
    sentence,
    value: `${number}`,
    json: {
      verb,
      job: job.name,
      checkpoint: number,
      parent: parent ?? null,
      bytes,
      frozenUsec,
      imagesDir: job.checkpoint(number),
      warnings,
    },
    summary: [
      `images         ${inBytes(bytes)}${parent === undefined ? '' : `, what has changed since checkpoint ${parent}`}`,
      ...(frozenUsec === undefined ? [] : [`frozen for     ${inTime(frozenUsec)}`]),
    ],
    warnings,
  };
}
