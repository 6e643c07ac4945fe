/** From a caller and a plan to an engine that has become that caller. */
import { type ConfinedEngine, type ConfinedEngineOptions, startConfinedEngine } from '../engine/confined.ts';
import type { EngineEvents } from '../engine/engine.ts';
import type { RelayPlan } from '../policy/authorize.ts';
import { type Caller, openProcDirectory } from '../policy/caller.ts';
import type { PeerFdField } from '../policy/option-table.ts';
import type { Traits } from '../policy/standing.ts';
import type { OwnedFd } from '../socket/binding.ts';

/**
 * @param plan absent for a hand-over, where CRIU opens everything itself.
 * @param connection the caller's own, for a hand-over; copied.
 * @throws LaunchError, CriuMissingError, CallerGoneError, NativeError
 */
export async function startEngineAs(
  options: ConfinedEngineOptions,
  caller: Caller,
  traits: Traits,
  plan: RelayPlan | undefined,
  connection: OwnedFd | undefined,
  session: number,
  events: EngineEvents,
): Promise<ConfinedEngine> {
  const { pid, uid, gid, groups } = caller.identity;
  const { bounding, inheritable, ambient, noNewPrivs, umask } = traits;
  const number = (field: PeerFdField): number | undefined =>
    plan?.peerFds.find((each) => each.field === field)?.callerNumber;
  const procDirectory = openProcDirectory(caller);
  try {
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
        pidfd: caller.pidfd,
        procDirectory,
      },
      {
        imagesDirFd: number('images_dir_fd'),
        imagesDir: plan?.imagesDir,
        workDirFd: number('work_dir_fd'),
        statusFd: number('status_fd'),
      },
      connection,
      `${process.pid}-${session}`,
      events,
    );
  } finally {
    procDirectory.close();
  }
}
