/** Events from two looks at a job. */
import assert from 'node:assert/strict';
import { eventsBetween, type Seen } from '../../../../src/client/job/changes.ts';
import type { JobStatus } from '../../../../src/client/job/status.ts';

const running: JobStatus = {
  job: 'sim',
  state: 'running',
  pid: 7,
  since: '2026-01-01T00:00:00.000Z',
  from: null,
  status: null,
  signal: null,
  checkpoints: [1],
  latest: 1,
  failure: null,
  directory: '/jobs/sim',
};
const seen = (more: Partial<JobStatus> = {}, failure?: string): Seen => ({
  job: { ...running, ...more },
  failure,
});
const gone: Seen = { job: undefined, failure: undefined };
const failed = (identity: string): Seen => seen({ failure: 'No room' }, identity);
const ended = { pid: null, state: 'suspended', checkpoints: [1, 2], latest: 2 } as const;

/** The events as words. */
function told(before: Seen | undefined, now: Seen): string[] {
  return eventsBetween(before, now).map((event) => {
    if (event.type === 'state') return event.job.state;
    if (event.type === 'checkpoint') return `checkpoint ${event.checkpoint}`;
    return event.type === 'failure' ? `failure: ${event.message}` : 'absent';
  });
}

const table: readonly (readonly [string, Seen | undefined, Seen, readonly string[]])[] = [
  ['that is there is its state alone', undefined, failed('1'), ['running']],
  ['that is not there is its absence', undefined, gone, ['absent']],
  ['that is still not there is nothing', gone, gone, []],
  ['that comes is its state', gone, seen({ state: 'new', pid: null }), ['new']],
  ['that goes is its absence', seen(), gone, ['absent']],
  ['that is as it was is nothing', seen(), seen(), []],
  ['that was checkpointed is its checkpoint', seen(), seen({ checkpoints: [1, 2] }), ['checkpoint 2']],
  ['whose old checkpoint was removed is nothing', seen(), seen({ checkpoints: [] }), []],
  [
    'that was suspended is its checkpoint, then its state',
    seen(),
    seen(ended),
    ['checkpoint 2', 'suspended'],
  ],
  ['that has failed is its reason', seen(), failed('1'), ['failure: No room']],
  ['that has failed again is its reason again', failed('1'), failed('2'), ['failure: No room']],
  ['whose failure is known is nothing', failed('1'), failed('1'), []],
  ['whose failure is over is its checkpoint', failed('1'), seen({ checkpoints: [1, 2] }), ['checkpoint 2']],
  [
    'that was suspended and resumed meanwhile is its checkpoint, then its state, also under the same pid',
    seen(),
    seen({ checkpoints: [1, 2], since: '2026-01-01T00:00:09.000Z', from: 2 }),
    ['checkpoint 2', 'running'],
  ],
  ['that has finished is its state', seen(), seen({ state: 'finished', pid: null, status: 3 }), ['finished']],
];

describe('the event of a job', () => {
  for (const [what, before, now, events] of table)
    it(what, () => {
      assert.deepEqual(told(before, now), events);
    });
});
