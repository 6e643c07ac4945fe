/** Waits until a job does not run here any more. */
import type { Job } from './job.ts';
import { endingOf } from './process-end.ts';
import type { JobState } from './state.ts';

/** @throws the signal's reason, or Error with code ENOENT if the job was removed */
export async function atRest(job: Job, signal: AbortSignal): Promise<JobState> {
  for (;;) {
    signal.throwIfAborted();
    const { state } = job;
    if (state.is === 'running') await untilEnd(job, state.pid, signal);
    signal.throwIfAborted();
    const settled = await job.settledState(signal);
    if (settled.is !== 'running') return settled;
  }
}

async function untilEnd(job: Job, pid: number, signal: AbortSignal): Promise<void> {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const ending = endingOf(pid, end);
  signal.addEventListener('abort', end);
  try {
    // The pid may have become that of another process before it was opened.
    const { state } = job;
    if (state.is === 'running' && state.pid === pid) await ended;
  } finally {
    signal.removeEventListener('abort', end);
    ending?.close();
  }
}
