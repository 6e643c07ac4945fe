/** The engine of a hand-over that was started right before a kill, so that the store does not know it: goes on with it, or ends it. */
import { constants as os } from 'node:os';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { usualConnection } from '../../engine/engine.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { StderrFile } from '../../engine/stderr-file.ts';
import { native } from '../../native/binding.ts';
import { engineCgroupOf } from '../engines/cgroup-of.ts';
import { knownBy } from '../trees/sweep.ts';
import type { Holder } from './find-engine.ts';
import type { EngineSnapshot } from './session-file.ts';
import type { StoredEngine } from './stored-sessions.ts';

/**
 * Describes the engine as if the store had it. Its stderr is lost.
 * @param confined the engine's identity; undefined for a privileged engine.
 */
export function asStored(
  { pid, pidfd }: Holder,
  confined: ConfinedIdentity | undefined,
): readonly [StoredEngine, EngineSnapshot] {
  const { fd: stderr } = new StderrFile('criu-stderr');
  const path = engineCgroupOf(pid);
  return [
    { pidfd, stderr, socket: undefined },
    {
      serial: 1,
      pid,
      connection: usualConnection,
      stays: false,
      ...(path === undefined ? {} : { cgroup: { path, scope: false } }),
      ...(confined === undefined ? {} : { confined: knownBy(confined, { pid, pidfd }) }),
    },
  ];
}

/**
 * Kills the launcher or engine, which has not read its request: it has done nothing. Resolves when it has gone.
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
