/** Events of a job: the difference between two looks at it. Pure. */
import type { JobStatus } from './status.ts';

/**
 * An event, with the job as it was then:
 * - `state`: the job as it is when the events begin, and each later state, start and resume;
 * - `checkpoint`: a new checkpoint is complete. Its images are in `checkpoints/NUMBER` of the job's directory;
 * - `failure`: a checkpoint or resume has failed; `message` is the reason. The state stays as it is, or is told by itself;
 * - `absent`: there is no such job yet, or not any more.
 */
export type JobEvent =
  | { readonly type: 'state'; readonly job: JobStatus }
  | { readonly type: 'checkpoint'; readonly checkpoint: number; readonly job: JobStatus }
  | { readonly type: 'failure'; readonly message: string; readonly job: JobStatus }
  | { readonly type: 'absent' };

export interface Seen {
  /** Undefined if there is no such job. */
  readonly job: JobStatus | undefined;
  /** Another for each failure, also with the same words. */
  readonly failure: string | undefined;
}

/**
 * In the order in which they came about: a suspend is a checkpoint that ends the job.
 * @param before undefined for the first look.
 */
export function eventsBetween(before: Seen | undefined, now: Seen): JobEvent[] {
  const { job } = now;
  const known = before?.job;
  if (!job) return before && !known ? [] : [{ type: 'absent' }];
  if (!known) return [{ type: 'state', job }];
  return [
    ...newCheckpoints(known, job).map((checkpoint): JobEvent => ({ type: 'checkpoint', checkpoint, job })),
    ...(job.failure !== null && now.failure !== before?.failure
      ? [{ type: 'failure', message: job.failure, job } as const]
      : []),
    ...(partOfState(known) === partOfState(job) ? [] : [{ type: 'state', job } as const]),
  ];
}

/** No number comes twice, and a number below an older one is a checkpoint that was there. */
export function newCheckpoints(before: JobStatus | undefined, now: JobStatus): readonly number[] {
  return before ? now.checkpoints.filter((number) => !before.checkpoints.includes(number)) : [];
}

/** A resume may give a job the pid that it had. */
function partOfState({ state, pid, since, status, signal }: JobStatus): string {
  return JSON.stringify([state, pid, since, status, signal]);
}
