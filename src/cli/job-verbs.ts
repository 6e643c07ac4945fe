/** The verbs of jobs: their code is a file of its own, and asks by the verbs of this one. */
import type { Invocation, Outcome } from './invocation.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { runJobVerb } = await import('./job/jobs.ts');
  return runJobVerb(invocation, {
    dump: async (dump) => (await import('./dump.ts')).run(dump),
    restore: async (restore) => (await import('./restore.ts')).run(restore),
    explain: async (error, failed) => (await import('./explain.ts')).explain(error, failed),
    look: async (pid) => (await import('./look-first.ts')).lookAtJob(pid),
    statistics: async (directory) => (await import('../client/statistics.ts')).readDumpStatistics(directory),
    faultsOf: async (directory) => (await import('./verify-first.ts')).faultsOf(directory),
  });
}
