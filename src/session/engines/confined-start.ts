/** Starts an engine with the identity of its caller. */
import { readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import {
  type ConfinedEngine,
  type ConfinedEngineOptions,
  type EngineHome,
  LaunchError,
  startConfinedEngine,
} from '../../engine/confined.ts';
import type { ConfinedEngineEvents } from '../../engine/engine.ts';
import { labelFor } from '../../engine/launcher-protocol.ts';
import { native, type OwnedFd } from '../../native/binding.ts';
import type { AuthorizedRequest, RelayPlan } from '../../policy/authorize.ts';
import type { PeerFdField } from '../../policy/option-table.ts';
import type { Consent } from '../../policy/yama.ts';
import { parseThreadStatus } from '../../proc/status.ts';
import type { ConfinedCaller } from '../caller/known-caller.ts';
import { type NamingOptions, nameEngine } from './naming.ts';

/**
 * @param plan absent for a hand-over, where CRIU opens all files itself.
 * @param connection for a hand-over, the caller's own connection; copied.
 * @param onConsent gets why the tree lets its engine trace it, where it was asked.
 * @throws LaunchError, NotNamedError, CriuMissingError, CallerGoneError, NativeError
 */
export async function startEngineAs(
  options: ConfinedEngineOptions,
  naming: NamingOptions,
  known: ConfinedCaller,
  request: AuthorizedRequest,
  plan: RelayPlan | undefined,
  connection: OwnedFd | undefined,
  home: EngineHome,
  onConsent: (consent: Consent) => void,
  events: ConfinedEngineEvents,
  onAbandoned: (gone: Promise<void>) => void,
): Promise<ConfinedEngine> {
  const { caller, standing } = known;
  const { pid, uid, gid, groups } = caller.identity;
  const { bounding, inheritable, ambient, noNewPrivs, umask, label } = standing.traits;
  const number = (field: PeerFdField): number | undefined =>
    plan?.peerFds.find((each) => each.field === field)?.callerNumber;
  const target = options.timeNamespaces ? openTarget(request.target, uid) : undefined;
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
        label: options.labels && label !== undefined ? labelFor(label, options.labels) : undefined,
        pidfd: caller.pidfd,
        procDirectory: caller.directory,
      },
      {
        imagesDirFd: number('images_dir_fd'),
        imagesDir: plan?.imagesDir,
        workDirFd: number('work_dir_fd'),
        statusFd: number('status_fd'),
        inherited: plan?.engineFds,
      },
      {
        sharedWith: target ?? (standing.traits.timeNamespace === undefined ? undefined : caller.pidfd),
        fromImages: options.timeNamespaces && request.scope === 'restore',
      },
      request.noCapability === true,
      connection,
      home,
      events,
      onAbandoned,
      request.namesEngine && request.target !== undefined
        ? async (engine) => onConsent(await nameEngine(naming, known, request.target!, engine))
        : undefined,
    );
  } finally {
    target?.close();
  }
}

/**
 * CRIU without root dumps a tree in its own time namespace only, so the engine enters the target's. A tree that has several is
 * refused by CRIU, which sees all its processes stand still.
 * @returns a pidfd of the target; undefined for a request without a target.
 * @throws LaunchError unless the process is the caller's: an engine enters no time namespace of others.
 */
export function openTarget(target: number | undefined, uid: number): OwnedFd | undefined {
  if (target === undefined || target <= 0) return undefined;
  let pidfd: OwnedFd | undefined;
  try {
    pidfd = native.pidfdOpen(target);
    // If the process is alive after it was read, the status is that of the pidfd's process.
    const { uids } = parseThreadStatus(readFileSync(`/proc/${target}/status`, 'latin1'));
    if (uids.some((each) => each !== uid) || !native.isAlive(pidfd)) throw new Error('It is another process');
    return pidfd;
  } catch (error) {
    pidfd?.close();
    throw new LaunchError(os.errno.ESRCH, `Process ${target} has ended`, { cause: error });
  }
}
