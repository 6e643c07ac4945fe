/** A job as programs see it: `criuctl --json` prints it, and the client library returns it. */
import type { Job } from '../../job/job.ts';
import type { JobState } from '../../job/state.ts';

/** A job at a moment. The fields are those of `criuctl jobs --json`, as documented in criu-job(7). */
export interface JobStatus {
  /** Its name. */
  readonly job: string;
  /**
   * - `new`: not started yet;
   * - `running`: its process runs on this machine;
   * - `running-elsewhere`: on another machine, as far as a shared directory tells;
   * - `suspended`: a checkpoint has ended it;
   * - `interrupted`: its processes have ended without the end of its command, as by a power cut. It goes on from its last checkpoint;
   *   without a checkpoint it starts anew;
   * - `finished`: its command has ended.
   */
  readonly state: 'new' | 'running' | 'running-elsewhere' | 'suspended' | 'interrupted' | 'finished';
  /** The root of its tree while it is `running`, else null. */
  readonly pid: number | null;
  /** The time of the last start or resume in ISO 8601; null for a job that is `new`. */
  readonly since: string | null;
  /** The checkpoint from which that was a resume; null for a start. */
  readonly from: number | null;
  /** The exit status of a command that has `finished` by exit(3), from 0 to 255, else null. */
  readonly status: number | null;
  /** The number of the signal that has ended the command of a job that has `finished`, else null. */
  readonly signal: number | null;
  /** The numbers of its complete checkpoints, the oldest first. Their images are in `checkpoints/NUMBER` of its directory. */
  readonly checkpoints: readonly number[];
  /** The checkpoint that a resume takes; null without checkpoints. */
  readonly latest: number | null;
  /** A sentence, why the last checkpoint or resume has failed; null if it has not. */
  readonly failure: string | null;
  /** The absolute path of its directory, which has its output (`stdout`, `stderr`), too. */
  readonly directory: string;
}

/** @internal */
export function statusOf(job: Job, state: JobState): JobStatus {
  const { run, latest, failure } = job;
  const end = state.is === 'finished' ? state.end : undefined;
  return {
    job: job.name,
    state: state.is,
    pid: state.is === 'running' ? state.pid : null,
    since: run?.since ?? null,
    from: run?.from ?? null,
    status: end?.kind === 'exited' ? end.code : null,
    signal: end?.kind === 'signalled' ? end.signal : null,
    checkpoints: job.checkpoints,
    latest: latest ?? null,
    failure: failure ?? null,
    directory: job.path,
  };
}
