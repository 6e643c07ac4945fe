/** The verbs of jobs, in a bundle of their own. */
import { Job } from '../../job/job.ts';
import type { Invocation, Outcome } from '../invocation.ts';
import type { Verb } from '../options/row.ts';
import { type Attachable, attachable } from './attach.ts';
import { checkpoint, suspend } from './checkpoint-verbs.ts';
import { type Context, contextOf, NoSuchJob, type Tools } from './context.ts';
import { list } from './list.ts';
import { logs } from './logs.ts';
import { remove } from './remove.ts';
import { resume } from './resume.ts';
import { run } from './run.ts';
import { wait } from './wait.ts';

const verbs: Readonly<Partial<Record<Verb, (context: Context) => Promise<Outcome>>>> = {
  run,
  jobs: list,
  checkpoint,
  suspend,
  resume,
  logs,
  wait,
  remove,
};

/** The job that criuctl attach names. @throws Obstacle */
export function attachableJob(invocation: Invocation, tools: Tools): Attachable {
  return attachable(contextOf(invocation, tools));
}

export async function runJobVerb(invocation: Invocation, tools: Tools): Promise<Outcome> {
  const context = contextOf(invocation, tools);
  try {
    return await verbs[invocation.verb]!(context);
  } catch (error) {
    if (!isForNoJob(error, context)) throw error;
    // systemd stops the unit of a job that has ended, perhaps after its removal.
    if (invocation.verb === 'suspend' && invocation.own.job.inUnit)
      return {
        sentence: 'The job was removed',
        value: '',
        json: { verb: 'suspend', job: invocation.action },
      };
    throw new NoSuchJob(context);
  }
}

/** Another criuctl may remove a job at any moment that it does not run. */
function isForNoJob(error: unknown, { invocation: { action }, home }: Context): boolean {
  if (error instanceof NoSuchJob) return true;
  return (error as NodeJS.ErrnoException).code === 'ENOENT' && Job.find(home, action ?? '') === undefined;
}
