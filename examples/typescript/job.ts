#!/usr/bin/env node
// job NAME COMMAND...: runs a job, and tells what becomes of it until it has ended. Control-C suspends it, and the same line goes on.
import { isJobError, Job } from 'criu-service/job';

const [name, ...command] = process.argv.slice(2);
if (name === undefined || command.length === 0) {
  console.error('usage: job NAME COMMAND...');
  process.exit(2);
}

function fail(error: unknown): never {
  if (!isJobError(error)) throw error;
  console.error([error.message, ...error.advice].join('\n'));
  process.exit(1);
}

try {
  const job = new Job(name);
  await job.run(command, { every: 600 });
  process.once('SIGINT', () => {
    job.suspend().catch(fail);
  });
  for await (const event of job.events()) {
    if (event.type === 'absent') break;
    if (event.type === 'checkpoint') console.log(`checkpoint ${event.checkpoint} is complete`);
    if (event.type === 'failure') console.error(event.message);
    if (event.type === 'state') {
      const { state, from, status, signal } = event.job;
      if (state === 'running') console.log(from === null ? 'runs' : `runs, from checkpoint ${from} on`);
      else if (state === 'finished') console.log(`has finished: ${status ?? `signal ${signal}`}`);
      else console.log(`is ${state}`);
      if (state !== 'running') break;
    }
  }
} catch (error) {
  fail(error);
}
