/**
 * What an engine has left that nobody may have: processes with its CAP_CHECKPOINT_RESTORE, and a tree that was moved out of its cgroup
 * before anybody could verify it.
 *
 * Nobody without root can write a cgroup of ours, but systemd moves a user's processes to that user's own units when the user
 * asks for it (AttachProcessesToUnit in org.freedesktop.systemd1(5)). So cgroup.kill alone does not end all that an engine left. What
 * came out of an engine is known by its audit session (audit-session.ts), wherever it is.
 */
import { readFileSync } from 'node:fs';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import {
  EngineCgroup,
  isEngineCgroup,
  isEngineScope,
  isOfThisStart,
  isPageServerCgroup,
  mayHoldCapability,
} from '../../engine/engine-cgroup.ts';
import { Freezer } from '../../engine/freezer.ts';
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

/** What is told of. */
export interface SweepEvents {
  onEnded(process: Found): void;
  /** Whether it holds anything of an engine's could not be found out, or it could not be ended. */
  onUnknown(process: SeenProcess): void;
  /** Nobody could look. */
  onFailure(error: Error): void;
}

interface Setting {
  /** Of root's, which outlives this service: what is frozen is written down there. Nothing is frozen without one. */
  readonly directory: string | undefined;
  readonly events: SweepEvents;
}

const holding = numberOf('CHECKPOINT_RESTORE');

const mostTries = 20;
const retryMs = 100;

/** How often processes that do not stand still are looked at, where nobody may freeze them. */
const mostLooks = 10;

const unheard: SweepEvents = { onEnded: () => {}, onUnknown: () => {}, onFailure: () => {} };
let setting: Setting = { directory: undefined, events: unheard };

/** Once, before anything is swept. Thaws what an earlier start has left frozen that was killed. */
export function prepareSweeps(directory: string | undefined, events: SweepEvents): string[] {
  setting = { directory, events };
  return directory === undefined ? [] : Freezer.thawLeft(directory);
}

const sweeps = new Coalesced<EngineOrigin>(sweep);

/** @returns by what it is known for ever what came out of this engine. */
export function knownBy(confined: ConfinedIdentity, { pid, pidfd }: Holder): ConfinedIdentity {
  const session = auditSessionOf(pid);
  return session === undefined || !native.isAlive(pidfd) ? confined : { ...confined, session };
}

/** Ends every process that an engine has left and that holds its capability, wherever it is. One sweep at a time, for all that wait. */
export async function endEscaped(confined: ConfinedIdentity): Promise<void> {
  const { uid, gid, session, since, traits } = confined;
  const engine = { uid, gid, session, since, permitted: traits.permitted, ambient: traits.ambient };
  if (!hasItAnyway(engine) && isKnown(engine)) await sweeps.add(engine);
}

/**
 * Ends a restored tree that must not run, wherever its user had it moved: every process in the audit session of its engine, with the
 * capability or without. An engine restores one tree, so that nothing else is there.
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

/** What keeps it from being done, as too few descriptors, may be gone a moment later. */
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
      // Of one that is not known by its session nothing could be proved.
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
  if (isPageServerCgroup(cgroup) || (isEngineScope(cgroup, 'restore') && mayHoldCapability(cgroup)))
    return 'may hold';
  return isEngineScope(cgroup) || isEngineCgroup(cgroup) ? 'of engines' : 'elsewhere';
}

/**
 * Ends, while the engine stands frozen, what it has made or traces outside of its cgroup: such a task still stands in its tracing stop.
 * @returns why the tree must not run, when there was any.
 * @throws Error when that cannot be found out: then the tree must not run either.
 */
export async function endTracedElsewhere(
  engine: number,
  members: readonly number[],
): Promise<string | undefined> {
  const { uids } = parseThreadStatus(readFileSync(`/proc/${engine}/status`, 'latin1'));
  const [, uid] = uids as [number, number];
  const session = auditSessionOf(engine);
  // Itself is not what it has made; who is missing among the members is found out by whoever judges those.
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

/** @throws Error for what never stands still, or cannot be read. */
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
 * Ends what holds an engine's capability in scopes of restores that nobody owns any more: an earlier start of this service was
 * killed, and could not say whose they are. Without its engine and that capability a tree is no more than its owner, and may be one
 * that was verified.
 * @param owned the cgroups of the sessions that go on; those of this start's own are known.
 * @returns the pids of what was ended.
 */
export async function endUnverified(owned: ReadonlySet<string>): Promise<number[]> {
  const isUnowned = (cgroup: string): boolean =>
    isEngineScope(cgroup, 'restore') &&
    !mayHoldCapability(cgroup) &&
    !owned.has(cgroup) &&
    !isOfThisStart(cgroup);
  const { ended, unknown } = await endAll({
    look: async () => lookFor({ pids: await EngineCgroup.membersOfScopes(isUnowned), holding }),
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
