/** A job as a unit of systemd's: started by criuctl run, and from within by criu-job@.service. */
import { setTimeout as delay } from 'node:timers/promises';
import { optimumInterval } from '../../job/interval.ts';
import type { Job } from '../../job/job.ts';
import type { JobState } from '../../job/state.ts';
import { native } from '../../native/binding.ts';
import { exitCodes } from '../exit-codes.ts';
import { memoryOfTree } from '../images.ts';
import { type Invocation, Obstacle, type Outcome } from '../invocation.ts';
import { begin } from './begin.ts';
import { type Context, nameOf, sentenceOf, uid, warn } from './context.ts';
import {
  disableUnit,
  enableUnit,
  isByKeyboard,
  jobUnit,
  lingeringAdvice,
  moveHere,
  setTimer,
  stageOfStart,
  startUnit,
  stateOfUnit,
} from './manager.ts';
import { membersOf } from './members.ts';
import { outcomeOf } from './words.ts';

/** For `auto`, until the first checkpoint has shown its cost. */
const firstInterval = 60;

/** Starts the unit, and waits until the job runs. */
export async function inUnit({ invocation }: Context, job: Job): Promise<Outcome> {
  const before = job.state;
  // From here on a Ctrl-C ends the wait alone: a start that systemd goes on with is one of an enabled unit.
  invocation.signal.throwIfAborted();
  if (before.is !== 'running' && before.is !== 'finished' && before.is !== 'running-elsewhere') {
    // Before its start, which may be long, and which its user may stop watching.
    await enableUnit(job.name);
    const start = await startUnit(job.name, invocation.signal);
    if (start === 'not-waited-for') throw stillStarting(invocation, job);
    if (start === 'failed') await requireDone(invocation, job);
  } else if (before.is === 'running' && invocation.own.job.every !== undefined) {
    await setTimer(job.name, intervalOf(invocation.own.job.every));
  }
  const advice = before.is === 'finished' ? undefined : lingeringAdvice();
  const outcome = outcomeOf(invocation.verb, job, await settled(job), before);
  return advice === undefined ? outcome : { ...outcome, summary: [advice] };
}

/** @throws Obstacle for a start that goes on, or is over, and has failed. */
async function requireDone(invocation: Invocation, job: Job): Promise<void> {
  const stage = await stageOfStart(job.name);
  if (stage === 'done') return;
  if (stage === 'goes-on') throw stillStarting(invocation, job);
  if (job.state.is === 'new') await disableUnit(job.name);
  throw await failureOf(job);
}

/** A start that systemd has reported, and whose command has ended at once, leaves its end in a moment. */
async function settled(job: Job): Promise<JobState> {
  for (let attempt = 0; attempt < 50 && job.state.is === 'interrupted'; attempt += 1) await delay(20);
  return job.state;
}

function stillStarting({ signal }: Invocation, job: Job): Obstacle {
  return new Obstacle(
    isByKeyboard(signal) ? exitCodes.interrupted : exitCodes.failed,
    `The start of job ${job.name} goes on, and is not waited for`,
    'criuctl jobs tells when it runs',
  );
}

async function failureOf(job: Job): Promise<Obstacle> {
  const { failure } = job;
  const unit = jobUnit(job.name);
  const result = await stateOfUnit(job.name);
  return new Obstacle(
    exitCodes.failed,
    failure ?? `Job ${job.name} could not be started${result === '' ? '' : `: systemd says ${result}`}`,
    `See ${uid === 0 ? 'journalctl' : 'journalctl --user'} --unit=${unit}; its files are in ${job.path}`,
  );
}

/** ExecStart= of the unit: the job is its main process afterwards. */
export async function beginInUnit(context: Context, job: Job): Promise<Outcome> {
  const before = job.state;
  const lock = await job.lock();
  try {
    const begun = await begin(context, job, false);
    if (begun.did === 'nothing' && begun.state.is !== 'running') {
      notify('READY=1');
      if (begun.state.is === 'finished') await disableUnit(job.name);
      return outcomeOf('resume', job, begun.state, before);
    }
    const pid = begun.did === 'nothing' ? (begun.state as { pid: number }).pid : begun.pid;
    if (begun.did === 'resumed' && uid === 0) await moveHere(job.name, () => membersOf(pid));
    notify(
      `MAINPID=${pid}\nREADY=1\nSTATUS=${begun.did === 'resumed' ? `Goes on from checkpoint ${begun.from}` : 'Runs'}`,
    );
    job.noteFailure(undefined);
    const { every } = job.spec!;
    if (every !== undefined) {
      await setTimer(job.name, intervalOf(every)).catch((error: Error) =>
        warn(`its checkpoints have no timer: ${error.message.split('\n')[0]}`),
      );
    }
    return outcomeOf('resume', job, job.state, before);
  } catch (error) {
    job.noteFailure(await sentenceOf(context, error));
    throw error;
  } finally {
    lock.release();
  }
}

/** Its unit was enabled when its directory was removed, and is not started any more. */
export async function forgetRemoved({ invocation, home }: Context): Promise<Outcome> {
  const name = nameOf(invocation);
  await disableUnit(name);
  // A start has succeeded; for a stop this says nothing.
  notify('READY=1');
  return {
    sentence: '',
    value: '',
    json: { verb: invocation.verb, job: name, state: 'removed' },
    // For the journal of the unit.
    warnings: [`the directory of job ${name} was removed from ${home}: its unit is disabled`],
  };
}

/** @returns seconds. */
export function intervalOf(every: number | 'auto', costUsec?: number): number {
  if (every !== 'auto') return every;
  return costUsec === undefined ? firstInterval : optimumInterval(costUsec / 1e6);
}

/** Keeps systemd from losing patience with a stop whose checkpoint is long: its time depends on the memory. */
export function askForTime(pid: number): { end(): void } {
  /** A slow disk writes this much in a second. */
  const bytesPerSecond = 20e6;
  const stepMs = 10_000;
  const extend = (): void => notify('EXTEND_TIMEOUT_USEC=60000000');
  // Another checkpoint may come to its end first.
  const until = Date.now() + 2 * (60_000 + (memoryOfTree(pid) / bytesPerSecond) * 1000);
  const timer = setInterval(() => {
    if (Date.now() < until) extend();
  }, stepMs);
  extend();
  return { end: () => clearInterval(timer) };
}

function notify(state: string): void {
  if (process.env.NOTIFY_SOCKET) native.notifyNow(state);
}
