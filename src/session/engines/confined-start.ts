/** Starts an engine with the identity of its caller. */
import { readFileSync } from 'node:fs';
import {
  type ConfinedEngine,
  type ConfinedEngineOptions,
  type EngineHome,
  startConfinedEngine,
} from '../../engine/confined.ts';
import type { ConfinedEngineEvents } from '../../engine/engine.ts';
import { sliceOf } from '../../engine/engine-cgroup.ts';
import { labelFor } from '../../engine/launcher-protocol.ts';
import type { OwnedFd } from '../../native/binding.ts';
import type { RelayPlan } from '../../policy/authorize.ts';
import type { PeerFdField } from '../../policy/option-table.ts';
import type { Caller } from '../../proc/caller.ts';
import { parseCgroup } from '../../proc/process-tree.ts';
import type { ConfinedCaller } from '../caller/known-caller.ts';

/**
 * @param plan absent for a hand-over, where CRIU opens all files itself.
 * @param noCapability true if the request needs no CAP_CHECKPOINT_RESTORE.
 * @param connection for a hand-over, the caller's own connection; copied.
 * @throws LaunchError, CriuMissingError, CallerGoneError, NativeError
 */
export async function startEngineAs(
  options: ConfinedEngineOptions,
  { caller, standing }: ConfinedCaller,
  plan: RelayPlan | undefined,
  noCapability: boolean,
  connection: OwnedFd | undefined,
  home: EngineHome,
  events: ConfinedEngineEvents,
  onAbandoned: (gone: Promise<void>) => void,
): Promise<ConfinedEngine> {
  const { pid, uid, gid, groups } = caller.identity;
  const { bounding, inheritable, ambient, noNewPrivs, umask, label } = standing.traits;
  const number = (field: PeerFdField): number | undefined =>
    plan?.peerFds.find((each) => each.field === field)?.callerNumber;
  return await startConfinedEngine(
    options,
    {
      pid,
      uid,
      gid,
      groups,
      bounding,
      inheritable,
      ambient,
      noNewPrivs,
      umask,
      label: options.labels && label !== undefined ? labelFor(label, options.labels) : undefined,
      pidfd: caller.pidfd,
      procDirectory: caller.directory,
    },
    {
      imagesDirFd: number('images_dir_fd'),
      imagesDir: plan?.imagesDir,
      workDirFd: number('work_dir_fd'),
      statusFd: number('status_fd'),
    },
    noCapability,
    connection,
    home,
    events,
    onAbandoned,
  );
}

/** The slice of the caller, to which its restored trees are charged. @throws CallerGoneError, or an error of reading /proc */
export function sliceOfCaller(caller: Caller): string {
  return sliceOf(parseCgroup(readFileSync(`/proc/self/fd/${caller.directory.number}/cgroup`, 'latin1')));
}
