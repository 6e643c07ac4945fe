/** Starts the engine of a lease: a waiting engine of the pool, a fresh engine, a confined engine, an engine for a hand-over. */
import { constants as os } from 'node:os';
import type { ScopeKind, TreeOwner } from '../../engine/cgroup-names.ts';
import type { ConfinedEngineOptions, EngineHome, OpenedFiles } from '../../engine/confined.ts';
import { Engine } from '../../engine/engine.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import type { EnginePool } from '../../engine/engine-pool.ts';
import type { EngineQueue } from '../../engine/engine-queue.ts';
import {
  type EngineFd,
  type PrivilegedEngineOptions,
  startHandedOverEngine,
  startRelayedEngine,
  umaskFor,
} from '../../engine/privileged.ts';
import { StderrFile } from '../../engine/stderr-file.ts';
import { type NativeError, native, type OwnedFd } from '../../native/binding.ts';
import { EBADRQC } from '../../native/errnos.ts';
import type { AuthorizedRequest, RelayPlan } from '../../policy/authorize.ts';
import { bitOf } from '../../policy/capabilities.ts';
import type { Consent } from '../../policy/yama.ts';
import type { UserKey } from '../../proc/connection-user.ts';
import { type ConfinedCaller, identityFor, type KnownCaller } from '../caller/known-caller.ts';
import type { EngineSnapshot } from '../keep/session-file.ts';
import type { StoredEngine } from '../keep/stored-sessions.ts';
import type { Input } from '../machine/states.ts';
import { knownBy } from '../trees/sweep.ts';
import { cgroupOfCaller, placeOf, sliceOfCaller } from './caller-place.ts';
import { startEngineAs } from './confined-start.ts';
import type { EngineLease } from './lease.ts';
import type { Order } from './lease-state.ts';
import { BadDescriptorError } from './loan.ts';
import { type NamingOptions, NotNamedError, nameEngine } from './naming.ts';

export interface StartContext {
  readonly engine: PrivilegedEngineOptions;
  readonly pool: EnginePool;
  readonly confined: ConfinedEngineOptions;
  readonly naming: NamingOptions;
  readonly queue: EngineQueue;
}

/** The request got no engine; the message is a whole sentence. */
export class NotStartedError extends Error {
  override readonly name = 'NotStartedError';
  /** Positive. */
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}

/** The input of the machine for a request whose engine could not be started. */
export function notStarted({ name }: AuthorizedRequest, error: unknown, engineRemains: boolean): Input {
  const { message, errno } = error as NativeError;
  const isRefused = error instanceof NotNamedError;
  return {
    on: 'not-started',
    // Errnos of node:fs are negative.
    errno: error instanceof BadDescriptorError ? EBADRQC : Math.abs(errno ?? os.errno.ESRCH),
    reason: error instanceof NotStartedError ? message : `${name}${isRefused ? ' refused' : ''}: ${message}`,
    engineRemains,
    ...(isRefused ? { isRefused } : {}),
  };
}

/**
 * Waits for a turn, because the number of engines is limited.
 * @param user the user whose limit the engine counts against.
 * @param bytes the length of the request.
 * @throws NotStartedError
 */
export async function waitForTurn(
  { queue }: StartContext,
  user: UserKey,
  lease: EngineLease,
  { request, engine }: Order,
  bytes: number,
): Promise<void> {
  const paced = engine.is === 'confined' && request.scope !== undefined;
  const turn = queue.ask(user, engine.is === 'privileged', bytes, paced);
  if (typeof turn === 'string')
    throw new NotStartedError(os.errno.EAGAIN, `${request.name} refused: ${turn}`);
  lease.queued(turn);
  if (turn.ready) await turn.ready;
}

/**
 * Starts the engine of a relayed request.
 * @param plan a confined engine opens the files of the plan with its caller's rights.
 * @param engineFds copies that a privileged engine gets under the numbers of the request.
 * @returns the descriptor numbers of the files that the engine opened.
 */
export async function startRelayed(
  context: StartContext,
  lease: EngineLease,
  { request, engine }: Order,
  plan: RelayPlan,
  engineFds: readonly EngineFd[],
): Promise<OpenedFiles> {
  if (engine.is === 'confined') return startConfined(context, lease, request, engine.as, plan, undefined);
  // An engine can be given descriptors only at its start, so a waiting engine of the pool will not do for those.
  const waiting = engineFds.length === 0 ? context.pool.take(umaskFor(request.type), lease.heard) : undefined;
  if (waiting) lease.started({ engine: waiting }, true);
  else startFresh(context, lease, request, engineFds);
  return {};
}

export function startFresh(
  context: StartContext,
  lease: EngineLease,
  { type }: AuthorizedRequest,
  engineFds: readonly EngineFd[] = [],
): void {
  const engine = startRelayedEngine(context.engine, umaskFor(type), engineFds, lease.heard);
  lease.started({ engine }, false);
}

/**
 * Before an engine gets another request: its tree may be another, or have new processes.
 * @throws NotNamedError, CallerGoneError, NativeError
 */
export async function nameAgain(
  { naming }: StartContext,
  lease: EngineLease,
  { request, engine }: Order,
): Promise<void> {
  const { target, namesEngine } = request;
  if (engine.is !== 'confined' || !namesEngine || target === undefined) return;
  await lease.named((named) => nameEngine(naming, engine.as, target, named));
}

/** Starts an engine on the caller's own connection, which is copied. */
export async function startHandedOver(
  context: StartContext,
  lease: EngineLease,
  { request, engine }: Order,
  connection: OwnedFd,
): Promise<void> {
  if (engine.is === 'confined')
    await startConfined(context, lease, request, engine.as, undefined, connection);
  else lease.started({ engine: startHandedOverEngine(context.engine, connection, lease.heard) }, false);
}

async function startConfined(
  context: StartContext,
  lease: EngineLease,
  request: AuthorizedRequest,
  caller: ConfinedCaller,
  plan: RelayPlan | undefined,
  connection: OwnedFd | undefined,
): Promise<OpenedFiles> {
  const identity = identityFor(caller);
  let consent: Consent | undefined;
  const { engine, cgroup, files, time } = await startEngineAs(
    context.confined,
    context.naming,
    caller,
    request,
    plan,
    connection,
    homeFor(request, caller),
    (given) => {
      consent = given;
    },
    lease.heard,
    (gone) => lease.abandoned(gone),
  );
  if (!request.terminal) engine.refuseDescriptors();
  const known = { ...identity, ...(time ? { time } : {}), ...(consent ? { consent } : {}) };
  const confined = knownBy(known, { pid: engine.pid, pidfd: engine.fds.pidfd });
  lease.started({ engine, cgroup, confined }, false);
  return files;
}

/** @throws NotStartedError if the caller is in a cgroup that cannot be handed on. */
function homeFor({ name, scope }: AuthorizedRequest, known: ConfinedCaller): EngineHome {
  const { caller } = known;
  const asked = cgroupOfCaller(caller);
  const place = placeOf(asked, scope !== undefined);
  const isStill = (): boolean => cgroupOfCaller(caller) === asked;
  switch (place.is) {
    case 'within':
      return { before: () => EngineCgroup.within(place.cgroup, scope ?? 'engine', ownerFor(known)), isStill };
    case 'scope':
      return { with: (pid) => scopeFor(scope!, known, pid), isStill };
    case 'service':
      return { before: () => EngineCgroup.below(), isStill };
    case 'refused':
      throw new NotStartedError(
        os.errno.EPERM,
        `${name} refused: the calling process ${place.reason}: ask from another, for example from a login shell`,
      );
  }
}

/**
 * Moves a privileged engine into a scope before it gets its request, because the restored tree or the page server outlives this
 * session. Confined engines are started in theirs.
 */
export async function moveToScope(lease: EngineLease, { request, engine }: Order): Promise<void> {
  const { scope } = request;
  if (engine.is === 'privileged' && scope !== undefined)
    await lease.moveTo((pid) => scopeFor(scope, engine.by, pid));
}

/** Moves a process into a scope in its caller's slice. */
async function scopeFor(kind: ScopeKind, known: KnownCaller, pid: number): Promise<EngineCgroup> {
  const { caller } = known;
  const what = kind === 'restore' ? 'Restored by CRIU' : 'CRIU page server';
  const description = `${what} for process ${caller.identity.pid} of uid ${caller.identity.uid}`;
  // One lane for each user, root included: a user can delay only the same user's scopes.
  return EngineCgroup.scope(
    kind,
    ownerFor(known),
    sliceOfCaller(caller),
    description,
    pid,
    caller.identity.uid,
  );
}

/** The owner of a tree that this caller restores. */
function ownerFor({ caller, standing }: KnownCaller): TreeOwner {
  const mayHold =
    standing.kind !== 'confined' || (standing.traits.permitted & bitOf('CHECKPOINT_RESTORE')) !== 0n;
  return { uid: caller.identity.uid, mayHold };
}

/** Goes on with an engine of an earlier start. Takes over its descriptors. */
export function resumeEngine(
  { queue }: StartContext,
  user: UserKey,
  lease: EngineLease,
  stored: StoredEngine,
  snapshot: EngineSnapshot,
): void {
  const { pid, connection, cgroup, confined } = snapshot;
  const engine = new Engine(
    native.adoptProcess(stored.pidfd, pid),
    stored.socket && native.adopt(stored.socket),
    new StderrFile('criu-stderr', stored.stderr),
    lease.heard,
    connection,
    confined && lease.heard,
  );
  // The engine runs already, so it counts even beyond the limits.
  lease.queued(queue.count(user, confined === undefined));
  lease.resumed(
    { engine, cgroup: cgroup && EngineCgroup.again(cgroup.path, cgroup.scope), confined },
    snapshot,
  );
}
