/** criuctl logs: the output of a job. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Job } from '../../job/job.ts';
import type { Outcome } from '../invocation.ts';
import { Running } from '../running.ts';
import { attempt, type Context, jobOf } from './context.ts';
import { Follower } from './follow.ts';

const chunkBytes = 1 << 16;

export async function logs(context: Context): Promise<Outcome> {
  const { own, signal } = context.invocation;
  const job = jobOf(context);
  const begin = attempt(job.path, () => startOfLast(job.at('stdout'), own.lines));
  const follower = new Follower(job.at('stdout'), (bytes) => process.stdout.write(bytes), begin);
  try {
    follower.show();
    if (own.job.follow) await follower.until(AbortSignal.any([signal, untilItEnds(job)]));
  } finally {
    follower.close();
  }
  return { sentence: '', value: '', json: undefined };
}

function untilItEnds(job: Job): AbortSignal {
  const ended = new AbortController();
  const { state } = job;
  const running = state.is === 'running' ? Running.find(state.pid) : undefined;
  if (running) running.end.then(() => ended.abort());
  else ended.abort();
  return ended.signal;
}

/** @returns where the last lines of a file begin. */
function startOfLast(path: string, lines: number): number {
  const fd = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(chunkBytes);
    const { size } = fstatSync(fd);
    let found = 0;
    for (let end = size; end > 0; ) {
      const begin = Math.max(0, end - chunkBytes);
      const length = readSync(fd, buffer, 0, end - begin, begin);
      for (let at = length - 1; at >= 0; at -= 1) {
        // The newline at the very end ends the last line.
        if (buffer[at] !== 0x0a || begin + at === size - 1) continue;
        found += 1;
        if (found === lines) return begin + at + 1;
      }
      end = begin;
    }
    return 0;
  } finally {
    closeSync(fd);
  }
}
