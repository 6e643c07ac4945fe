/** The verbs of jobs: their code is a file of its own, and asks by the verbs of this one. */
import type { Invocation, Outcome } from './invocation.ts';
import type { Tools } from './job/context.ts';

const tools: Tools = {
  dump: async (dump) => (await import('./dump.ts')).run(dump),
  restore: async (restore) => (await import('./restore.ts')).run(restore),
  explain: async (error, failed) => (await import('./explain.ts')).explain(error, failed),
  look: async (pid, pty) => (await import('./look-first.ts')).lookAtJob(pid, pty),
  keepTerminal: async (pid, master, file) =>
    (await (await import('./terminal/keeping.ts')).Keeping.begin(pid)).hold(master, new Uint8Array(), file),
  statistics: async (directory) => (await import('../client/statistics.ts')).readDumpStatistics(directory),
  faultsOf: async (directory) => (await import('./verify-first.ts')).faultsOf(directory),
};

export async function run(invocation: Invocation): Promise<Outcome> {
  const { runJobVerb } = await import('./job/jobs.ts');
  return runJobVerb(invocation, tools);
}

/** @returns the process of a job whose terminal is held. @throws Obstacle */
export async function processOfJob(invocation: Invocation): Promise<number> {
  const jobs = await import('./job/jobs.ts');
  return jobs.processOfJob(invocation, tools);
}
