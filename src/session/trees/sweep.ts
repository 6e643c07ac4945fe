/**
 * Kills leftovers of an engine: processes that hold its CAP_CHECKPOINT_RESTORE, and a restored tree that was moved out of its
 * cgroup before it could be verified.
 *
 * Only root can write a cgroup of this service. But systemd moves a user's processes to that user's own units if the user asks
 * for it (AttachProcessesToUnit in org.freedesktop.systemd1(5)). Therefore cgroup.kill alone does not reach all descendants of an
 * engine. Their audit session tells them wherever they are (audit-session.ts).
 */
import { readFileSync } from 'node:fs';
import { isOfThisStart, mayHoldCapability } from '../../engine/cgroup-names.ts';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { Freezer } from '../../engine/freezer.ts';
import { isEngineCgroup, isNested, isPageServerCgroup, isTreeCgroup } from '../../engine/our-cgroups.ts';
import { native } from '../../native/binding.ts';
import { numberOf } from '../../policy/capabilities.ts';
import {
  type EngineOrigin,
  hasItAnyway,
  isKnown,
  marksForEver,
  type Place,
  type Proof,
  proofOf,
  whoseOf,
} from '../../policy/escaped.ts';
import { auditSessionOf } from '../../proc/audit-session.ts';
import { type Found, type Look, lookFor, type SeenProcess } from '../../proc/holders.ts';
import { runsAcrossPrivileges } from '../../proc/secure-exec.ts';
import { parseThreadStatus } from '../../proc/status.ts';
import type { Holder } from '../keep/find-engine.ts';
import { Coalesced } from './coalesced.ts';
import { endAll, kill } from './hunt.ts';

/** Reports of a sweep. */
export interface SweepEvents {
  onEnded(process: Found): void;
  /** The process could not be read or killed: it may hold an engine's capability. */
  onUnknown(process: SeenProcess): void;
  /** The sweep failed. */
  onFailure(error: Error): void;
}

interface Setting {
  /** A directory of root that outlives this service, for the list of frozen cgroups. Without it nothing is frozen. */
  readonly directory: string | undefined;
  readonly events: SweepEvents;
}

const holding = numberOf('CHECKPOINT_RESTORE');

const mostTries = 20;
const retryMs = 100;

/** The limit of looks at unsettled processes where they must not be frozen. */
const mostLooks = 10;

const unheard: SweepEvents = { onEnded: () => {}, onUnknown: () => {}, onFailure: () => {} };
let setting: Setting = { directory: undefined, events: unheard };

/** Call this once, before the first sweep. Thaws the cgroups that an earlier start had frozen when it was killed. */
export function prepareSweeps(directory: string | undefined, events: SweepEvents): string[] {
  setting = { directory, events };
  return directory === undefined ? [] : Freezer.thawLeft(directory);
}

const sweeps = new Coalesced<EngineOrigin>(sweep);

/** @returns the identity with the engine's audit session, which marks all its descendants for good. */
export function knownBy(confined: ConfinedIdentity, { pid, pidfd }: Holder): ConfinedIdentity {
  const session = auditSessionOf(pid);
  return session === undefined || !native.isAlive(pidfd) ? confined : { ...confined, session };
}

/** Kills every descendant of an engine that holds its capability, in any cgroup. Concurrent calls share one sweep. */
export async function endEscaped(confined: ConfinedIdentity): Promise<void> {
  const { uid, gid, session, since, traits } = confined;
  const engine = { uid, gid, session, since, permitted: traits.permitted, ambient: traits.ambient };
  if (!hasItAnyway(engine) && isKnown(engine)) await sweeps.add(engine);
}

/**
 * Kills a restored tree that must not run, wherever its user had it moved: every process in the audit session of its engine, with
 * or without the capability. An engine restores one tree, so that its audit session holds nothing else.
 * @param killed cgroups whose processes were killed before.
 */
export async function endRestored(confined: ConfinedIdentity, killed: readonly string[]): Promise<void> {
  const { uid, session, traits } = confined;
  if (session === undefined || !marksForEver({ session, ambient: traits.ambient })) return;
  await tryAgain(async () => {
    const { ended, unknown } = await endAll({
      look: () => lookFor({ whose: [{ uid, session }] }),
      choose: async (found) => found.filter(({ cgroup }) => !killed.includes(cgroup)),
      freezer: new Freezer(setting.directory),
      end: kill,
    });
    tell(ended, unknown);
  });
}

function sweep(engines: readonly EngineOrigin[]): Promise<void> {
  return tryAgain(() => sweepOnce(engines));
}

/** Retries: a cause of failure, such as too few descriptors, may be gone a moment later. */
async function tryAgain(sweepOnce: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await sweepOnce();
    } catch (error) {
      if (tries === mostTries) return setting.events.onFailure(error as Error);
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}

async function sweepOnce(engines: readonly EngineOrigin[]): Promise<void> {
  const question = { whose: engines.map(whoseOf), holding };
  const marked = new Set(engines.filter(marksForEver).map(({ session }) => session));
  const { ended, unknown } = await endAll({
    look: async () => {
      const look = await lookFor(question);
      // Without a session that marks the engine's descendants, nothing could be proved about an unreadable process.
      return { ...look, unknown: look.unknown.filter((each) => marked.has(each.session)) };
    },
    choose: (found) => chooseEscaped(found, engines),
    freezer: new Freezer(setting.directory),
    end: kill,
  });
  tell(ended, unknown);
}

async function chooseEscaped(
  found: readonly Found[],
  engines: readonly EngineOrigin[],
): Promise<readonly Found[]> {
  const proofs = new Map<Found, Proof>();
  for (const process of found) {
    for (const engine of engines) {
      const proof = proofOf(process, placeOf(process.cgroup), engine);
      if (proof !== undefined && proofs.get(process) !== 'session') proofs.set(process, proof);
    }
  }
  const byTime = [...proofs.keys()].filter((process) => proofs.get(process) === 'time');
  const secure = await runsAcrossPrivileges(byTime.map(({ pid }) => pid));
  return [...proofs.keys()].filter(({ pid }) => !secure.has(pid));
}

function placeOf(cgroup: string): Place {
  // A page server below its caller's cgroup has the capability only if the caller has.
  if (
    (isPageServerCgroup(cgroup) && (!isNested(cgroup) || mayHoldCapability(cgroup))) ||
    (isTreeCgroup(cgroup, 'restore') && mayHoldCapability(cgroup))
  )
    return 'may hold';
  return isTreeCgroup(cgroup) || isEngineCgroup(cgroup) ? 'of engines' : 'elsewhere';
}

/**
 * Kills the tasks outside the engine's cgroup that the engine has made or traces. The engine must be frozen: then such a task
 * still stands in its tracing stop.
 * @returns the reason why the tree must not run, if there was such a task.
 * @throws Error if the search fails; then the tree must not run either (fail closed).
 */
export async function endTracedElsewhere(
  engine: number,
  members: readonly number[],
): Promise<string | undefined> {
  const { uids } = parseThreadStatus(readFileSync(`/proc/${engine}/status`, 'latin1'));
  const [, uid] = uids as [number, number];
  const session = auditSessionOf(engine);
  // The engine itself and the members are no escaped tasks; verify-restored.ts judges the members.
  const except = [...members, engine];
  const question =
    session === undefined
      ? { whose: [{ uid }], tracedBy: engine, except }
      : { whose: [{ uid, session }], except };
  const { found } = await lookUntilSettled(question);
  for (const process of found) kill(process);
  tell(found, []);
  return found.length === 0 ? undefined : 'was moved out of its scope before it was verified';
}

/** @throws Error if a process does not settle, or cannot be read. */
async function lookUntilSettled(question: Parameters<typeof lookFor>[0]): Promise<Look> {
  for (let looks = 1; ; looks += 1) {
    const look = await lookFor(question);
    const [unknown] = look.unknown;
    if (look.found.length > 0 || (unknown === undefined && !look.cut)) return look;
    if (looks === mostLooks || typeof unknown?.seen === 'object')
      throw new Error(`Process ${unknown?.pid} cannot be looked at (${describeSeen(unknown)})`);
  }
}

/**
 * Kills processes with an engine's capability in the cgroups of trees that have lost their session: an earlier start was killed before
 * it could save the session. A tree without the engine and without the capability has no more rights than its owner, and may have
 * been verified; it stays.
 * @param owned the cgroups of the sessions that go on. Cgroups that this start has made are recognized by their names.
 * @returns the pids of the killed processes.
 */
export async function endUnverified(owned: ReadonlySet<string>): Promise<number[]> {
  const isUnowned = (cgroup: string): boolean =>
    isTreeCgroup(cgroup, 'restore') &&
    !mayHoldCapability(cgroup) &&
    !owned.has(cgroup) &&
    !isOfThisStart(cgroup);
  const { ended, unknown } = await endAll({
    look: async () => lookFor({ pids: await EngineCgroup.membersOfTrees(isUnowned), holding }),
    choose: async (found) => found.filter(({ cgroup, seen }) => !seen.uids.includes(0) && isUnowned(cgroup)),
    freezer: new Freezer(setting.directory),
    end: kill,
  });
  tell([], unknown);
  return ended.map(({ pid }) => pid);
}

function tell(ended: readonly Found[], unknown: readonly SeenProcess[]): void {
  for (const process of ended) setting.events.onEnded(process);
  for (const process of unknown) setting.events.onUnknown(process);
}

export function describeSeen(process: SeenProcess | undefined): string {
  if (process === undefined) return 'there are too many';
  const { seen } = process;
  if (seen === 'unsettled') return 'its threads come and go';
  return 'errno' in seen ? `errno ${seen.errno}` : 'it cannot be ended';
}
