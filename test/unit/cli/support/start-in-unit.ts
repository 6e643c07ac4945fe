/** A process that starts a job in a unit, as `criuctl run` does, and tells how that ended. Its argument is the directory of jobs. */
import { explain } from '../../../../src/cli/explain.ts';
import type { Invocation } from '../../../../src/cli/invocation.ts';
import type { Context } from '../../../../src/cli/job/context.ts';
import { inUnit } from '../../../../src/cli/job/in-unit.ts';
import { Job } from '../../../../src/job/job.ts';

const home = process.argv[2]!;
const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort(signal));
const invocation = {
  verb: 'run',
  options: {},
  own: { job: {} },
  signal: abort.signal,
} as unknown as Invocation;
const context = { invocation, home } as Context;

const said = await inUnit(context, Job.find(home, 'sim')!).then(
  ({ sentence }) => ({ exitCode: 0, message: sentence }),
  async (error: unknown) => {
    const { exitCode, message } = await explain(error, invocation);
    return { exitCode, message };
  },
);
process.stdout.write(JSON.stringify(said));
process.exit(0);
