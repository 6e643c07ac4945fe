/** criuctl jobs */
import { statusOf as jobStatus } from '../../client/job/status.ts';
import { durationInWords } from '../../job/duration.ts';
import { Job } from '../../job/job.ts';
import type { JobState } from '../../job/state.ts';
import { sanitize } from '../../systemd/log.ts';
import { imageBytes } from '../images.ts';
import type { Outcome } from '../invocation.ts';
import { columns, inBytes, inTime } from '../words.ts';
import type { Context } from './context.ts';
import { statusOf } from './words.ts';

interface Row {
  readonly cells: readonly string[];
  readonly json: object;
}

const heading = ['NAME', 'STATE', 'PID', 'SINCE', 'CHECKPOINT', 'SIZE', 'FROZEN', 'NEXT'];

export async function list({ home, tools }: Context): Promise<Outcome> {
  const rows = await Promise.all(
    Job.names(home).map(async (name): Promise<Row> => {
      try {
        return await rowOf(Job.find(home, name)!, tools);
      } catch (error) {
        const reason = (error as Error).message;
        return {
          cells: [name, `cannot be read: ${reason}`, '', '', '', '', '', ''],
          json: { job: name, error: reason },
        };
      }
    }),
  );
  const text =
    rows.length === 0
      ? `There is no job in ${home}`
      : columns([heading, ...rows.map(({ cells }) => cells.map((cell) => sanitize(cell)))]).join('\n');
  return {
    sentence: text,
    value: rows.length === 0 ? '' : text,
    json: { verb: 'jobs', jobs: rows.map(({ json }) => json) },
  };
}

async function rowOf(job: Job, tools: Context['tools']): Promise<Row> {
  const { state, latest, spec, run, failure } = job;
  const now = Date.now();
  const directory = latest === undefined ? undefined : job.checkpoint(latest);
  const taken = latest === undefined ? undefined : job.timeOf(latest);
  const frozenUsec = directory === undefined ? undefined : (await tools.statistics(directory))?.frozenUsec;
  const bytes = directory === undefined ? undefined : imageBytes(directory).all;
  const ago = (time: number): string => `${durationInWords((now - time) / 1000)} ago`;
  const next =
    state.is === 'running' && typeof spec?.every === 'number'
      ? Math.max(taken ?? 0, run ? Date.parse(run.since) : 0) + spec.every * 1000
      : undefined;
  return {
    cells: [
      job.name,
      stateWord(state),
      state.is === 'running' ? `${state.pid}` : '-',
      run ? ago(Date.parse(run.since)) : '-',
      taken === undefined ? '-' : `${latest}, ${ago(taken)}`,
      bytes === undefined ? '-' : inBytes(bytes),
      frozenUsec === undefined ? '-' : inTime(frozenUsec),
      failure !== undefined
        ? `failed: ${failure}`
        : next === undefined
          ? spec?.every === 'auto' && state.is === 'running'
            ? 'by its cost'
            : '-'
          : next > now
            ? `in ${durationInWords((next - now) / 1000)}`
            : 'now',
    ],
    json: {
      ...jobStatus(job, state),
      command: spec?.command,
      lastCheckpoint: taken === undefined ? null : new Date(taken).toISOString(),
      bytes: bytes ?? null,
      frozenUsec: frozenUsec ?? null,
      next: next === undefined ? null : new Date(next).toISOString(),
    },
  };
}

function stateWord(state: JobState): string {
  return state.is === 'finished' ? `finished (${statusOf(state.end)})` : state.is;
}
