/** HTCondor: a job goes on wherever HTCondor starts it again. */
import assert from 'node:assert/strict';
import { eventually } from '../system/support/bench.ts';
import { outputOf, processesOfAlice, stepsIn } from './support/batch.ts';
import { CondorJob, withHtcondor } from './support/htcondor.ts';

describe('HTCondor: a job', () => {
  withHtcondor();

  it('that is evicted again and again, with and without a warning, goes on, and writes what an uninterrupted run writes', async () => {
    const computation = stepsIn(900, 0.05);
    const job = new CondorJob();
    job.submit(...computation);
    await job.runs(1);
    job.ask('condor_vacate_job');
    await job.runs(2);
    // HTCondor begins the files of a job anew with each start.
    assert.match(job.said, /goes on from checkpoint/);
    await eventually('it has a checkpoint since', () => /goes on[\s\S]*Checkpoint /.test(job.said), 60_000);
    job.ask('condor_vacate_job', '-fast');
    await job.runs(3);
    job.ask('condor_hold');
    await eventually('it is held', () => /^012 /m.test(job.log), 60_000);
    assert.deepEqual(processesOfAlice(), []);
    job.ask('condor_release');
    await job.runs(4);
    assert.equal(await job.ends(), 0);
    assert.equal(job.output, outputOf(...computation));
  });

  it('that is removed leaves no process, and can be submitted again', async () => {
    const computation = stepsIn(300, 0.05);
    const job = new CondorJob();
    job.submit(...computation);
    await job.runs(1);
    job.ask('condor_vacate_job');
    await job.runs(2);
    job.ask('condor_rm');
    await eventually('all of its processes are gone', () => processesOfAlice().length === 0, 60_000);
    job.submit(...computation);
    assert.equal(await job.ends(), 0);
    assert.equal(job.output, outputOf(...computation));
  });
});
