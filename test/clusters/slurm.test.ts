/** Slurm: a batch job goes on wherever Slurm starts it again. */
import assert from 'node:assert/strict';
import { as } from '../hostile/support/people.ts';
import { eventually, run } from '../system/support/bench.ts';
import { outputOf, processesOfAlice, slowness, stepsIn } from './support/batch.ts';
import { drain, type Node, SlurmJob, undrain, withSlurm } from './support/slurm.ts';

describe('Slurm: a job', () => {
  withSlurm();

  it('that is out of time, preempted and signalled goes on on the other node, and writes what an uninterrupted run writes', async () => {
    const computation = stepsIn(1500, 0.05);
    const job = new SlurmJob();
    const places: Node[] = [];
    // Slurm looks at the time each 30 seconds, and signals when less than twice this is left.
    job.submit([`--time=${slowness}`, `--signal=B:USR1@${20 * slowness}`], ...computation);
    places.push(await job.runs(0));
    drain(places[0]!);
    places.push(await job.runs(1));
    undrain(places[0]!);
    run('scontrol', 'update', `JobId=${job.id}`, 'TimeLimit=60');

    const [file, ...argv] = [
      ...as('alice'),
      'sbatch',
      '--parsable',
      '--partition=high',
      `--nodelist=${places[1]}`,
    ];
    const other = run(file!, ...argv, '--output=/dev/null', '--wrap=sleep 1').trim();
    places.push(await job.runs(2));
    await eventually('the other job is over', () =>
      run('scontrol', 'show', 'job', other).includes('JobState=COMPLETED'),
    );

    drain(places[2]!);
    run('scancel', '--batch', '--signal=USR1', job.id);
    places.push(await job.runs(3));
    undrain(places[2]!);

    assert.equal(await job.ends(), 'COMPLETED', job.account());
    // Slurm starts a job that it has once preempted anew after its end, too; then it says that it has finished.
    assert.ok(Number(job.field('Restarts')) >= 3);
    assert.equal(job.field('ExitCode'), '0:0');
    for (const at of [1, 2, 3]) assert.notEqual(places[at], places[at - 1], places.join());
    assert.equal(job.output, outputOf(...computation));
    assert.equal(job.collected, outputOf(...computation));
    assert.deepEqual(processesOfAlice(), []);
  });

  it('that is requeued without a warning goes on from its last checkpoint', async () => {
    const computation = stepsIn(600, 0.05);
    const job = new SlurmJob();
    job.submit([], ...computation);
    await job.runs(0);
    await eventually('it has a checkpoint', () => job.said.includes('Checkpoint '));
    run('scontrol', 'requeue', job.id);
    await job.runs(1);
    assert.match(job.said, /goes on from checkpoint/);
    assert.equal(await job.ends(), 'COMPLETED', job.account());
    assert.equal(job.output, outputOf(...computation));
  });

  it('that is cancelled leaves no process, whether it was started or has gone on, and can be submitted again', async () => {
    const computation = stepsIn(400, 0.05);
    const job = new SlurmJob();
    job.submit([], ...computation);
    await job.runs(0);
    run('scancel', '--batch', '--signal=USR1', job.id);
    await job.runs(1);
    await eventually('it has a checkpoint since', () => /goes on.*Checkpoint /s.test(job.said));
    run('scancel', job.id);
    assert.equal(await job.ends(), 'CANCELLED', job.account());
    await eventually('all of its processes are gone', () => processesOfAlice().length === 0);
    job.submit([], ...computation);
    assert.equal(await job.ends(), 'COMPLETED', job.account());
    assert.equal(job.output, outputOf(...computation));
  });
});
