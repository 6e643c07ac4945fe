/** Looks at a job's files. */
import { statSync } from 'node:fs';
import { Job as JobFiles } from '../../job/job.ts';
import type { Seen } from './changes.ts';
import { fileError, JobError } from './job-error.ts';
import { statusOf } from './status.ts';

const absent: Seen = { job: undefined, failure: undefined };

/** A job may be removed and begun anew between two of its files. */
const mostTries = 3;

/** @throws JobError */
export function lookAt(home: string, name: string): Seen {
  for (let tries = 1; ; tries += 1) {
    try {
      const job = JobFiles.find(home, name);
      return job ? { job: statusOf(job, job.state), failure: identityOf(job.at('failure')) } : absent;
    } catch (error) {
      if (!isGone(error) || tries === mostTries) throw fileError(`${home}/${name}`, error);
    }
  }
}

/** After the operation in flight, whose steps are no events. @throws JobError, or the signal's reason */
export async function lookWhenSettled(home: string, name: string, signal?: AbortSignal): Promise<Seen> {
  try {
    await JobFiles.find(home, name)?.settledState(signal);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (!isGone(error)) throw fileError(`${home}/${name}`, error);
  }
  return lookAt(home, name);
}

/** @throws JobError */
export function requireJob(home: string, name: string): JobFiles {
  let job: JobFiles | undefined;
  try {
    job = JobFiles.find(home, name);
  } catch (error) {
    if (!isGone(error)) throw fileError(`${home}/${name}`, error);
  }
  if (job) return job;
  throw noSuchJob(home, name);
}

export function noSuchJob(home: string, name: string): JobError {
  return new JobError('DIRECTORY', `There is no job ${name} in ${home}`, {
    advice: ['Job.list() tells all jobs; run() starts one'],
  });
}

export function isGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** Another for each failure, also with the same words. */
function identityOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true });
  return found && `${found.ino} ${found.mtimeNs}`;
}
