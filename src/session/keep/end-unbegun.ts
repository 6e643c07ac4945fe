/** Ends the engine of a hand-over that was started right before a kill and has not read its request: it has done nothing. */
import { constants as os } from 'node:os';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { native } from '../../native/binding.ts';
import { engineCgroupOf } from '../engines/cgroup-of.ts';
import { knownBy } from '../trees/sweep.ts';
import type { Holder } from './find-engine.ts';

/**
 * Kills the launcher or engine. Resolves when it has gone.
 * @param becomes the identity that it has taken on, or was about to; undefined for a privileged engine.
 * @param sweep looks for what it has left elsewhere.
 */
export function endUnbegun(
  { pid, pidfd }: Holder,
  becomes: ConfinedIdentity | undefined,
  sweep: (left: ConfinedIdentity | undefined) => void,
): Promise<void> {
  const path = engineCgroupOf(pid);
  const left = becomes && knownBy(becomes, { pid, pidfd });
  const held = native.adoptProcess(pidfd, pid);
  held.signal(os.signals.SIGKILL);
  return new Promise((resolve) => {
    held.onExit(() => {
      held.close();
      const cgroup = path === undefined ? undefined : EngineCgroup.again(path, false);
      cgroup?.kill();
      sweep(left);
      cgroup?.remove();
      resolve();
    });
  });
}
