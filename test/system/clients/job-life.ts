/**
 * The life of a job by the client library: job-life.mjs NAME OUTPUT STOP COMMAND... prints what each call has returned, and the events that
 * came meanwhile, as a JSON object. OUTPUT is the file that the command writes lines to, and it ends when there is a file STOP.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';

const { Job, isJobError } = createRequire(import.meta.url)(
  'criu-service/job',
) as typeof import('../../../src/client/job/index.ts');

const [name, output, stop, ...command] = process.argv.slice(2);
const job = new Job(name!);

const events: string[] = [];
const abort = new AbortController();

async function listen(): Promise<void> {
  for await (const event of job.events({ signal: abort.signal })) {
    if (event.type === 'state') events.push(event.job.state);
    else if (event.type === 'checkpoint') events.push(`checkpoint ${event.checkpoint}`);
    else events.push(event.type === 'failure' ? event.message : 'absent');
    if (event.type === 'absent' && events.length > 1) abort.abort();
  }
}

function lines(): number {
  try {
    return readFileSync(output!, 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
}

async function goesOn(): Promise<void> {
  for (const before = lines(); lines() < before + 2; ) await delay(20);
}

const failure = (call: Promise<unknown>): Promise<object> =>
  call.then(
    () => ({ code: 'none' }),
    (error) =>
      isJobError(error) ? { code: error.code, exitCode: error.exitCode, message: error.message } : error,
  );

const heard = listen();
const absent = await failure(job.state());
const started = await job.run(command, { directory: '/', keep: 5 });
await goesOn();
const taken = await job.checkpoint();
const other = await failure(job.run(['/bin/true'], { directory: '/' }));
const listed = await Job.list();
await goesOn();
const suspended = await job.suspend();
const rest = await job.state();
const again = await job.suspend();
const resumed = await job.run(command, { directory: '/' });
const running = await failure(job.remove());
await goesOn();
writeFileSync(stop!, '');
const ended = await job.wait();
const written = readFileSync(output!, 'utf8');
const once = await job.run(command, { directory: '/' });
await job.remove();
const removed = await failure(job.wait());
await heard;

const results = {
  absent,
  started,
  taken,
  other,
  listed,
  suspended,
  rest,
  again,
  resumed,
  running,
  ended,
  written,
  once,
  removed,
};
console.log(JSON.stringify({ ...results, events }));
