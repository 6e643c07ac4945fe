/** A job and its state, in words. */
import { statusOf as jobStatus } from '../../client/job/status.ts';
import type { End } from '../../job/end.ts';
import type { Job } from '../../job/job.ts';
import type { JobState } from '../../job/state.ts';
import { inWords } from '../ending.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle, type Outcome } from '../invocation.ts';

export function statusOf(end: End): number {
  return end.kind === 'exited' ? end.code : 128 + end.signal;
}

/** The rest of a sentence that begins with the job. */
export function stateInWords(state: JobState): string {
  switch (state.is) {
    case 'new':
      return 'was not started yet';
    case 'running':
      return `runs as process ${state.pid}`;
    case 'running-elsewhere':
      return `runs on ${state.host}, as far as its directory tells`;
    case 'finished':
      return `has finished: it ${inWords(state.end)}`;
    case 'suspended':
      return `is suspended in checkpoint ${state.from}`;
    case 'interrupted':
      return state.from === undefined
        ? 'was interrupted before its first checkpoint'
        : `was interrupted, and goes on from checkpoint ${state.from}`;
  }
}

/** @param so the consequence, the end of the sentence. */
export function runsAlready(
  job: Job,
  state: Extract<JobState, { readonly is: 'running' | 'running-elsewhere' }>,
  so: string,
): Obstacle {
  return new Obstacle(
    exitCodes.refused,
    `Job ${job.name} ${stateInWords(state)}: ${so}`,
    state.is === 'running'
      ? `Suspend it first: criuctl suspend ${job.name}`
      : adviceElsewhere(job, state.host),
  );
}

function adviceElsewhere(job: Job, host: string): string {
  // NFS before version 4 keeps the locks of a client until that client starts again.
  return job.run?.watched
    ? `Suspend it there; or, if ${host} is gone for good and the file system still keeps its lock, remove ${job.at('watch')}`
    : `Suspend it there; or, if ${host} is gone for good: criuctl resume ${job.name} --take-over`;
}

/** @param before its state when it was asked for. */
export function outcomeOf(verb: string, job: Job, state: JobState, before: JobState): Outcome {
  const { run } = job;
  const fresh = state.is === 'running' && before.is !== 'running';
  const how = fresh
    ? run?.from === undefined
      ? ', and has just begun'
      : `, from checkpoint ${run.from} on`
    : '';
  return {
    sentence: `Job ${job.name} ${stateInWords(state)}${how}`,
    value: state.is === 'running' ? `${state.pid}` : state.is,
    json: { verb, ...jobStatus(job, state) },
    exitCode: state.is === 'running-elsewhere' ? exitCodes.refused : exitCodes.done,
    ...(state.is === 'running-elsewhere' ? { warnings: [adviceElsewhere(job, state.host)] } : {}),
  };
}
