/** Events of a job, from looks at it: a change wakes a look, and only the look tells. */
import { eventsBetween, type JobEvent, newCheckpoints, type Seen } from './changes.ts';
import { lookAt, lookWhenSettled } from './look.ts';
import { Watch } from './watch.ts';

export interface Place {
  readonly home: string;
  readonly name: string;
}

/** @param lookEvery seconds. @throws JobError */
export async function* eventsOf(
  { home, name }: Place,
  signal: AbortSignal | undefined,
  lookEvery: number | undefined,
): AsyncGenerator<JobEvent, void, void> {
  const watch = new Watch(home, name);
  let before: Seen | undefined;
  try {
    while (!signal?.aborted) {
      watch.arm();
      const now = await settled(home, name, before, signal);
      if (!now) return;
      const { pid = null, since = null } = now.job ?? {};
      if (watch.armProcess(pid, since)) continue;
      for (const event of eventsBetween(before, now)) {
        yield event;
        if (signal?.aborted) return;
      }
      before = now;
      await watch.change(signal, lookEvery);
    }
  } finally {
    watch.close();
  }
}

/** @returns undefined if the signal was aborted. @throws JobError */
async function settled(
  home: string,
  name: string,
  before: Seen | undefined,
  signal: AbortSignal | undefined,
): Promise<Seen | undefined> {
  const now = lookAt(home, name);
  if (!now.job || !isInTheMiddle(before, now)) return now;
  try {
    return await lookWhenSettled(home, name, signal);
  } catch (error) {
    if (signal?.aborted) return undefined;
    throw error;
  }
}

/**
 * A checkpoint that ends a job gets its name a moment after the end of the process: until then the job looks interrupted. Its number is
 * there a moment before the link to it.
 */
function isInTheMiddle(before: Seen | undefined, { job }: Seen): boolean {
  const interrupted = job!.state === 'interrupted' && before?.job?.state !== 'interrupted';
  return interrupted || newCheckpoints(before?.job, job!).length > 0;
}
