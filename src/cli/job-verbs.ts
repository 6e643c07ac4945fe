/** The verbs of jobs: their code is a file of its own, and asks by the verbs of this one. */
import type { Invocation, Outcome } from './invocation.ts';
import type { Attachable } from './job/attach.ts';
import type { Tools } from './job/context.ts';

const tools: Tools = {
  dump: async (dump) => (await import('./dump.ts')).run(dump),
  restore: async (restore) => (await import('./restore.ts')).run(restore),
  filesFit: async (restore) => (await import('./files/restore-files.ts')).filesFit(restore),
  explain: async (error, failed) => (await import('./explain.ts')).explain(error, failed),
  look: async (pid, pty) => (await import('./look-first.ts')).lookAtJob(pid, pty),
  keepTerminal: async (pid, { master, output }) =>
    (await (await import('./terminal/keeping.ts')).Keeping.begin(pid)).hold(master, new Uint8Array(), output),
  statistics: async (directory) => (await import('../client/statistics.ts')).readDumpStatistics(directory),
  faultsOf: async (directory) => (await import('./verify-first.ts')).faultsOf(directory),
};

export async function run(invocation: Invocation): Promise<Outcome> {
  const { runJobVerb } = await import('./job/jobs.ts');
  return runJobVerb(invocation, tools);
}

/** The job that criuctl attach names. @throws Obstacle */
export async function attachableJob(invocation: Invocation): Promise<Attachable> {
  const jobs = await import('./job/jobs.ts');
  return jobs.attachableJob(invocation, tools);
}
