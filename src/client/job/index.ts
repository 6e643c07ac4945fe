/**
 * Jobs, programs that outlive logouts, reboots and preemption: `import { Job } from 'criu-service/job'`. criu-job(7) describes them.
 *
 * {@link Job} is criuctl for programs: whatever changes a job is done by the installed `criuctl`, and whatever only tells about a job
 * is read from its files. Both faces, the command line and this class, may be used for a job at the same time.
 *
 * @module
 */
export type { JobEvent } from './changes.ts';
export {
  type Checkpoint,
  Job,
  type JobCallOptions,
  type JobEventsOptions,
  type JobListOptions,
  type JobOptions,
  type JobResult,
  type JobResumeOptions,
  type JobRunOptions,
  type ListedJob,
  type UnreadableJob,
} from './job.ts';
export { isJobError, JobError, type JobErrorCode, type JobErrorDetails } from './job-error.ts';
export type { JobStatus } from './status.ts';
