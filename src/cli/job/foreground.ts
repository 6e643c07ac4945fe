/**
 * A job in the foreground, as batch systems want it: criuctl stays, passes signals on, takes the checkpoints, and leaves with the
 * job's status.
 */
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { durationInWords } from '../../job/duration.ts';
import { isEndBy } from '../../job/ended-by.ts';
import type { Job } from '../../job/job.ts';
import type { Lock } from '../../job/lock.ts';
import { exitCodes } from '../exit-codes.ts';
import { type Invocation, Obstacle, type Outcome } from '../invocation.ts';
import { Running } from '../running.ts';
import { inBytes, inTime } from '../words.ts';
import { begin } from './begin.ts';
import { type Taken, takeCheckpoint } from './checkpoint.ts';
import { type Context, sentenceOf, warn, withoutInterruption } from './context.ts';
import { readFiles } from './files.ts';
import { Follower } from './follow.ts';
import { intervalOf } from './in-unit.ts';
import { TreeClaim } from './tree-claim.ts';
import { outcomeOf, runsAlready, stateInWords, statusOf } from './words.ts';

const passedOn = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const;

/** @throws Obstacle if another criuctl watches it, or its tree lives. */
export async function stayWith(context: Context, job: Job): Promise<Outcome> {
  const { verb } = context.invocation;
  const before = job.state;
  outliveReaders();
  if (job.spec?.pty) {
    throw new Obstacle(
      exitCodes.refused,
      `Job ${job.name} has a terminal of its own, and a job in the foreground has none`,
      `Go on with it in a unit: criuctl resume ${job.name}`,
    );
  }
  // A signal to criuctl is meant for the job.
  const own = withoutInterruption(context);
  const watcher = new Watcher(own, job);
  let claim: TreeClaim | undefined;
  try {
    // Before anything is begun: on a shared file system, another machine sees this lock.
    claim = await claimOf(job);
    const lock = await job.lock();
    const begun = await claim.during(() => begin(own, job, true)).finally(() => lock.release());
    if (begun.did === 'nothing') {
      await claim.giveUp();
      claim = undefined;
      const { state } = begun;
      const exitCode = state.is === 'finished' ? statusOf(state.end) : exitCodes.refused;
      return told(own, { ...outcomeOf(verb, job, state, before), exitCode });
    }
    if (begun.did === 'resumed') say(own, `Job ${job.name} goes on from checkpoint ${begun.from}`);
    await watcher.untilEnd(begun.pid, begun.did === 'started' ? undefined : begun.from);
    const state = await job.settledState();
    return told(own, afterwards(own, job, { before, state }, watcher.signals));
  } finally {
    watcher.close();
    await claim?.release();
  }
}

/** After the end of the tree, the holder of its claim ends in a moment. @throws Obstacle if it does not */
async function claimOf(job: Job): Promise<TreeClaim> {
  const stepMs = 50;
  // Also where the holder waits for a processor for seconds.
  for (let tries = 200; ; tries -= 1) {
    const claim = await TreeClaim.take(job);
    if (claim) return claim;
    const { state } = job;
    if (state.is !== 'running' && tries > 0) {
      await delay(stepMs);
      continue;
    }
    if (state.is === 'running-elsewhere') throw runsAlready(job, state, 'it would run twice');
    throw new Obstacle(
      exitCodes.refused,
      `Job ${job.name} ${state.is === 'running' ? stateInWords(state) : 'is watched by another criuctl'}: it would run twice`,
      `Wait for it: criuctl wait ${job.name}`,
    );
  }
}

/** The job's output is in its files, whoever reads it here, and wherever it is kept. */
function outliveReaders(): void {
  let isTold = false;
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (code === 'EPIPE' || isTold) return;
      isTold = true;
      warn(`criuctl's own ${name} lacks output of the job: ${message}`);
    });
  }
}

function afterwards(
  { invocation }: Context,
  job: Job,
  { before, state }: { readonly before: Job['state']; readonly state: Job['state'] },
  signals: ReadonlySet<number>,
): Outcome {
  // A batch system that takes the node back signals each process of the job, and starts the same command again.
  if (state.is === 'finished' && invocation.own.job.onSignal && isEndBy(state.end, signals)) {
    job.forgetEnd();
    throw new Obstacle(
      statusOf(state.end),
      `Job ${job.name} was ended by a signal that was meant for criuctl, too`,
      whatNext(job),
    );
  }
  const outcome = outcomeOf(invocation.verb, job, state, before);
  if (state.is === 'finished') return { ...outcome, exitCode: statusOf(state.end) };
  if (state.is === 'suspended') return { ...outcome, exitCode: invocation.own.job.suspendedStatus };
  throw new Obstacle(
    exitCodes.failed,
    `Job ${job.name} was ended from outside, without its command`,
    whatNext(job),
  );
}

function whatNext({ state }: Job): string {
  return state.is === 'interrupted' && state.from !== undefined
    ? `The same command goes on from checkpoint ${state.from}`
    : 'It has no checkpoint: the same command starts it anew';
}

/** Standard output is the job’s. */
function told(context: Context, outcome: Outcome): Outcome {
  say(context, outcome.sentence);
  return { ...outcome, sentence: '', value: '' };
}

function say({ invocation }: { readonly invocation: Invocation }, sentence: string): void {
  if (!invocation.own.json) process.stderr.write(`criuctl: ${sentence}\n`);
}

/** Signals count from the moment that a watcher is made: those that come before the job runs are for the job. */
class Watcher {
  readonly #context: Context;
  readonly #job: Job;
  readonly #handled: ReadonlySet<NodeJS.Signals>;
  readonly #early: NodeJS.Signals[] = [];
  readonly #signals = new Set<number>();
  #running: Running | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Checkpoints of this criuctl, one after another. */
  #work: Promise<void> = Promise.resolve();

  constructor(context: Context, job: Job) {
    const { onSignal } = context.invocation.own.job;
    this.#context = context;
    this.#job = job;
    this.#handled = new Set<NodeJS.Signals>([...passedOn, ...(onSignal ? [onSignal] : [])]);
    for (const name of this.#handled) process.on(name, this.#signalled);
  }

  /** Those that have come. */
  get signals(): ReadonlySet<number> {
    return this.#signals;
  }

  /** @param from the checkpoint that it goes on from: its output is shown from there on. */
  async untilEnd(pid: number, from?: number): Promise<void> {
    const { json, job } = this.#context.invocation.own;
    const over = new AbortController();
    const output = json ? [] : this.#followers(from);
    const shown = Promise.all(output.map((each) => each.until(over.signal)));
    this.#running = Running.find(pid);
    for (const name of this.#early.splice(0)) this.#signalled(name);
    this.#plan();
    if (job.timeLimit !== undefined)
      this.#after(job.timeLimit, () =>
        this.#suspend(`its time of ${durationInWords(job.timeLimit!)} is over`),
      );
    await this.#running?.end;
    // A checkpoint that has ended it is complete in a moment.
    await this.#work;
    over.abort();
    await shown;
    for (const each of output) each.close();
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const name of this.#handled) process.off(name, this.#signalled);
  }

  /** By now a job has written more than it had at the checkpoint. */
  #followers(from: number | undefined): readonly Follower[] {
    const written = from === undefined ? [] : readFiles(this.#job.checkpoint(from));
    const placeIn = (path: string): number | undefined =>
      from === undefined ? 0 : written.find((file) => file.path === path)?.size;
    return (['stdout', 'stderr'] as const).map((name) => {
      const path = this.#job.at(name);
      return new Follower(path, (bytes) => process[name].write(bytes), placeIn(path));
    });
  }

  readonly #signalled = (name: NodeJS.Signals): void => {
    this.#signals.add(constants.signals[name]);
    if (name === this.#context.invocation.own.job.onSignal) this.#suspend(`${name} came`);
    else if (this.#running) this.#running.signal(constants.signals[name]);
    else this.#early.push(name);
  };

  #after(seconds: number, act: () => void): void {
    // Node’s timers count up to 2^31 ms.
    const longest = 2 ** 31 - 1;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        if (seconds * 1000 > longest) this.#after(seconds - longest / 1000, act);
        else act();
      },
      Math.min(seconds * 1000, longest),
    );
    this.#timers.add(timer);
  }

  /** The next checkpoint is counted from the end of the last. */
  #plan(costUsec?: number): void {
    const { every } = this.#job.spec!;
    if (every === undefined) return;
    this.#after(intervalOf(every, costUsec), () => {
      this.#do(async () => {
        const taken = await this.#take(false);
        this.#plan(taken?.frozenUsec ?? costUsec);
      });
    });
  }

  #suspend(reason: string): void {
    if (!this.#running) {
      this.#early.push(this.#context.invocation.own.job.onSignal!);
      return;
    }
    this.#do(async () => {
      if (this.#job.state.is !== 'running') return;
      say(this.#context, `Job ${this.#job.name} is suspended: ${reason}`);
      await this.#take(true);
    });
  }

  #do(work: () => Promise<void>): void {
    this.#work = this.#work.then(work);
  }

  /** A failure is told, and the job runs on. */
  async #take(ends: boolean): Promise<Taken | undefined> {
    let lock: Lock | undefined;
    try {
      lock = await this.#job.lock();
      if (this.#job.state.is !== 'running') return undefined;
      const taken = await takeCheckpoint(this.#context, this.#job, ends);
      const frozen = taken.frozenUsec === undefined ? '' : `, frozen for ${inTime(taken.frozenUsec)}`;
      say(this.#context, `Checkpoint ${taken.number}: ${inBytes(taken.bytes)}${frozen}`);
      return taken;
    } catch (error) {
      warn(
        `Job ${this.#job.name} has no new checkpoint, and runs on: ${await sentenceOf(this.#context, error)}`,
      );
      return undefined;
    } finally {
      lock?.release();
    }
  }
}
