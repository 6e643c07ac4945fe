/** The end of a job's command, beside the record of its last run. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Job } from '../../src/job/job.ts';
import { recordOf } from '../../src/job/run-record.ts';

describe('a job whose unit was stopped', () => {
  let home: string;
  let job: Job;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'job-end-'));
    job = Job.make(home, 'one');
    // A process that has ended by now, as after a stop.
    job.writeRun({ ...recordOf(process.pid, undefined, false)!, startTime: '1' });
    job.noteStop();
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const end = (text: string): void => writeFileSync(job.at('end'), text);

  it('has not finished by the signals of the stop, and has by any other end', () => {
    for (const text of ['killed 15\n', 'killed 9\n', 'exited 143\n']) {
      end(text);
      assert.equal(job.state.is, 'interrupted');
    }
    end('exited 0\n');
    assert.equal(job.state.is, 'finished');
  });

  it('has finished by these signals after its next start, also if that run ended before it was recorded', () => {
    end('killed 15\n');
    job.forgetEnd();
    assert.equal(job.state.is, 'interrupted');
    end('killed 15\n');
    assert.deepEqual(job.state, { is: 'finished', end: { kind: 'signalled', signal: 15 } });
  });
});
