/** Replaces src/session/trees/verify-restored.ts: a verified tree runs at once, beside its engine. */
import * as original from '../../src/session/trees/verify-restored.ts';

export const verifyRestored: typeof original.verifyRestored = async (cgroup, apart, engine, restorer) => {
  const reason = await original.verifyRestored(cgroup, apart, engine, restorer);
  if (reason === undefined) cgroup.thaw();
  return reason;
};

export const letRestoredRun = original.letRestoredRun;
