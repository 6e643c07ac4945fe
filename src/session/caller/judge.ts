/**
 * The path from bytes in a caller's queue to an input of the session machine: decode the packet, identify its caller, read the
 * caller and its target in /proc, authorize. Owns nothing: the session owns the caller, and lends it.
 */
import { readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import type { InstalledCriu } from '../../engine/installed-criu.ts';
import { isConstant } from '../../engine/kept-answers.ts';
import { maxUserPacketBytes } from '../../native/limits.ts';
import {
  type AuthorizedRequest,
  authorize,
  dumpsJob,
  type Facts,
  type Restorers,
  targetOf,
} from '../../policy/authorize.ts';
import { unknownOption } from '../../policy/option-table.ts';
import { type Phase, requestTable } from '../../policy/request-table.ts';
import { judgeStanding, type Standing, type StandingOptions } from '../../policy/standing.ts';
import { foreignUid } from '../../policy/tree-rule.ts';
import { canName } from '../../policy/yama.ts';
import { type Caller, CallerGoneError, type CallerIdentity, type CallerState } from '../../proc/caller.ts';
import type { CallerReader } from '../../proc/caller-reader.ts';
import { groupName as nameIn } from '../../proc/groups.ts';
import { readJob } from '../../proc/jobs.ts';
import { kernelTracksMemory } from '../../proc/memory-tracking.ts';
import type { ProcMount } from '../../proc/proc-mount.ts';
import { lineagesOf, type TreeContains, type TreeThread } from '../../proc/process-tree.ts';
import type { TreeReader } from '../../proc/tree-reader.ts';
import { decodeRequest } from '../../protocol/codec.ts';
import type { CriuReq } from '../../protocol/messages.ts';
import type { NamingOptions } from '../engines/naming.ts';
import type { Input } from '../machine/states.ts';
import { Around } from './around.ts';
import type { EngineFor, KnownCaller } from './known-caller.ts';

export interface JudgeContext {
  /** The service's own state: the measure for "fully privileged". */
  readonly own: CallerState;
  readonly reader: CallerReader;
  readonly trees: TreeReader;
  readonly standing: StandingOptions;
  readonly procMount: ProcMount;
  readonly restorers: Restorers;
  /** The option --yama. */
  readonly naming: NamingOptions;
  readonly installed: Pick<InstalledCriu, 'version' | 'limits'>;
}

/**
 * The standing of an unidentified caller. It suffices for a VERSION or FEATURE_CHECK, which anyone may ask: a probe answers it,
 * and it names no descriptor. Reading /proc would take longer than the answer, and a hostile caller could make it slower.
 */
const unread: Seen = {
  passedOn: false,
  caller: undefined,
  standing: { kind: 'refused', reason: 'what it is was not looked at' },
};

const noLineages: TreeContains = () => false;

/** The result of judging a packet. */
export type Judgement = Extract<Input, { on: 'decided' | 'malformed' }>;

/** A packet that waits in its caller's queue, and the way to its caller. */
export interface Waiting {
  readonly data: Buffer;
  /** As in {@link Facts}. */
  readonly passedOn: boolean;
  readonly phase: Phase;
  /** The uid that connected. */
  readonly uid: number;
  /** Called where the judgement depends on the caller. The session owns the caller. @throws CallerGoneError, NativeError */
  identify(): Caller;
  /** Called before the caller is read in /proc, which can take long. */
  onReading(): void;
}

/** A packet's caller, as far as it was identified, and its standing. */
interface Seen extends Pick<Facts, 'criu' | 'limits' | 'passedOn'> {
  /** Undefined if the caller could not be identified, or was not. */
  readonly caller: Caller | undefined;
  readonly standing: Standing;
}

/**
 * Judges a packet. Owns nothing and changes nothing.
 * @returns a promise unless the caller is root: other callers are read on another thread, and the tree of their target in turns. For
 * CHECK the version of CRIU is read first.
 */
export function judge(context: JudgeContext, waiting: Waiting): Judgement | Promise<Judgement> {
  const { data, phase, uid } = waiting;
  // For root, decode the packet as CRIU does. Any other caller must encode it so that every parser sees the same.
  const mode = uid === 0 ? 'lenient' : 'strict';
  const decoded = decodeRequest(data, mode);
  if (decoded.kind === 'malformed') return malformed(decoded.reason);
  const { message } = decoded;
  const judgeSeen = (seen: Seen): Judgement | Promise<Judgement> => {
    if (seen.standing.kind === 'fully-privileged') return judgeRoot(context, message, phase, seen);
    return mode === 'strict'
      ? judgeUser(context, message, phase, seen)
      : judgeLess(context, data, phase, seen);
  };
  const judgeAs = (seen: Seen): Judgement | Promise<Judgement> => {
    const about = aboutCriu(context.installed, message, seen.standing);
    return about ? about.then((known) => judgeSeen({ ...seen, ...known })) : judgeSeen(seen);
  };
  if (phase === 'first' && isConstant(message.type, data)) return judgeAs(unread);
  waiting.onReading();
  const seen = see(context, waiting);
  return seen instanceof Promise ? seen.then(judgeAs) : judgeAs(seen);
}

/**
 * True if the caller's standing is the same as when its packet was judged (TOCTOU). The launcher copied the caller's traits
 * later: if the caller executed another program in between, the engine could have more than the judged caller had.
 */
export async function stillStands(context: JudgeContext, known: KnownCaller): Promise<boolean> {
  try {
    const { own, reader, standing } = context;
    const { caller } = known;
    const now = judgeStanding(caller.identity, await reader.read(caller), own, standing);
    return isDeepStrictEqual(now, known.standing);
  } catch {
    return false;
  }
}

/** @returns undefined for a request that does not depend on the version of CRIU. */
function aboutCriu(
  installed: JudgeContext['installed'],
  { type, opts }: CriuReq,
  standing: Standing,
): Promise<Pick<Facts, 'criu' | 'limits'>> | undefined {
  if (requestTable.get(type)?.tellsLimits) return installed.limits().then((limits) => ({ limits }));
  return standing.kind === 'confined' && unknownOption(opts)
    ? installed.version().then((criu) => ({ criu }))
    : undefined;
}

/** A caller with uid 0 that is not fully privileged. */
function judgeLess(
  context: JudgeContext,
  data: Buffer,
  phase: Phase,
  seen: Seen,
): Judgement | Promise<Judgement> {
  if (data.length > maxUserPacketBytes) return tooLarge(data.length);
  const decoded = decodeRequest(data, 'strict');
  return decoded.kind === 'malformed'
    ? malformed(decoded.reason)
    : judgeUser(context, decoded.message, phase, seen);
}

function judgeUser(
  context: JudgeContext,
  message: CriuReq,
  phase: Phase,
  seen: Seen,
): Judgement | Promise<Judgement> {
  const { identity } = seen.caller ?? {};
  const target = identity && targetOf(message, identity.pid);
  return seen.standing.kind !== 'confined' || identity === undefined || target === undefined || target <= 0
    ? readLineages(context, message, phase, seen, noTree)
    : lookAt(context, identity, target).then((tree) => readLineages(context, message, phase, seen, tree));
}

/** The tree of root's target matters for a job of a shell only. */
function judgeRoot(
  context: JudgeContext,
  message: CriuReq,
  phase: Phase,
  seen: Seen,
): Judgement | Promise<Judgement> {
  const target = targetOf(message, seen.caller?.identity.pid ?? 0);
  const lineages = (job?: Facts['job']): Judgement | Promise<Judgement> =>
    readLineages(context, message, phase, seen, { ...noTree, ...(job ? { job } : {}) });
  return dumpsJob(message) && target !== undefined && target > 0
    ? readJob(target)
        .catch(() => [])
        .then(lineages)
    : lineages();
}

/** The tree of a request's target, and what was read beside it. */
type Tree = Required<Pick<Facts, 'tree' | 'engines' | 'around'>> & Pick<Facts, 'job'>;

/** Without a tree to check, the engines are not listed. */
const noTree: Tree = { tree: [], engines: new Set(), around: [] };

/**
 * Reads the tree of a target, and beside that the surroundings of its root and of the caller. Surroundings do not matter if a
 * process of the tree is another user's.
 */
async function lookAt(
  { reader, trees }: JudgeContext,
  { pid, uid, groups }: CallerIdentity,
  target: number,
): Promise<Tree> {
  const around = new Around(pid);
  const first = around.read(reader, uid, [pid, target]);
  // One thread of another user is enough to refuse a tree.
  const isForeign = (thread: TreeThread): boolean => foreignUid(thread, uid) !== undefined;
  try {
    const tree = await trees.read(uid, target, groups, isForeign);
    const engines = EngineCgroup.allMembers();
    if (tree.length === 0 || tree.some(isForeign)) return { tree, engines, around: [] };
    await first;
    const rest = new Set(tree.map((thread) => thread.pid));
    rest.delete(target);
    await around.read(reader, uid, [...rest]);
    return { tree, engines, around: around.obstacles };
  } finally {
    // The caller's next reading must find its lane idle.
    await first;
  }
}

function readLineages(
  context: JudgeContext,
  message: CriuReq,
  phase: Phase,
  seen: Seen,
  tree: Tree,
): Judgement | Promise<Judgement> {
  const { pid = 0 } = seen.caller?.identity ?? {};
  const target = targetOf(message, pid);
  const lineages = target === undefined ? noLineages : lineagesOf([process.pid, pid]);
  return lineages instanceof Promise
    ? lineages.then((read) => decide(context, message, phase, seen, tree, read))
    : decide(context, message, phase, seen, tree, lineages);
}

function decide(
  context: JudgeContext,
  message: CriuReq,
  phase: Phase,
  seen: Seen,
  tree: Tree,
  treeContains: TreeContains,
): Judgement {
  const { standing } = seen;
  const { identity } = seen.caller ?? {};
  const callerGroups = identity ? [identity.gid, ...identity.groups] : [];
  const decision = authorize(message, {
    phase,
    standing,
    callerPid: identity?.pid ?? 0,
    callerUid: identity?.uid ?? -1,
    callerGid: identity?.gid ?? -1,
    treeContains,
    servicePid: process.pid,
    ...tree,
    criu: seen.criu,
    ...(seen.limits ? { limits: seen.limits } : {}),
    allCapabilities: allCapabilities(),
    groupName,
    restorers: context.restorers,
    callerGroups,
    passedOn: seen.passedOn,
    hidden: context.procMount.hidesFrom(callerGroups),
    ptraceScope: standing.kind === 'confined' ? readPtraceScope() : 0,
    canName: canName && context.naming.rule !== 'none',
    tracksMemory: kernelTracksMemory(),
  });
  if (decision.kind === 'refuse' || decision.kind === 'answer') return { on: 'decided', decision };
  return { on: 'decided', decision: { ...decision, engine: engineFor(decision.request, seen) } };
}

/** authorize() gives a caller that cannot be served no engine but a probe. */
function engineFor(request: AuthorizedRequest, { caller, standing }: Seen): EngineFor {
  if (request.engine === 'probe' || caller === undefined) return { is: 'probe' };
  switch (standing.kind) {
    case 'fully-privileged':
      return { is: 'privileged', by: { caller, standing } };
    case 'confined':
      return { is: 'confined', as: { caller, standing } };
    case 'refused':
      return { is: 'probe' };
  }
}

function see(context: JudgeContext, waiting: Waiting): Seen | Promise<Seen> {
  const { passedOn } = waiting;
  let caller: Caller | undefined;
  const unidentified = (error: Error): Seen => ({ caller, passedOn, standing: refusedFor(error) });
  try {
    const known = waiting.identify();
    caller = known;
    const judged = (state: CallerState): Seen => ({
      caller: known,
      passedOn,
      standing: standingOf(context, known, state),
    });
    const state = context.reader.read(known);
    return state instanceof Promise ? state.then(judged).catch(unidentified) : judged(state);
  } catch (error) {
    return unidentified(error as Error);
  }
}

function standingOf(context: JudgeContext, { identity, bound }: Caller, state: CallerState): Standing {
  const standing = judgeStanding(identity, state, context.own, context.standing);
  return standing.kind === 'confined' && !bound
    ? {
        kind: 'refused',
        reason: 'serving users without root needs Linux 6.5 (SO_PEERPIDFD), and this kernel is older',
      }
    : standing;
}

function refusedFor(error: Error): Standing {
  const { message } = error;
  return {
    kind: 'refused',
    reason: error instanceof CallerGoneError ? message : `it cannot be identified: ${message}`,
  };
}

let all: bigint | undefined;

/** All capabilities of this kernel, read once. */
function allCapabilities(): bigint {
  all ??= (1n << BigInt(Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'latin1')) + 1)) - 1n;
  return all;
}

/** Reads the file of root's, and asks no other source: a directory server could hold up the service. */
function groupName(gid: number): string | undefined {
  try {
    return nameIn(readFileSync('/etc/group', 'utf8'), gid);
  } catch {
    return undefined;
  }
}

/** 0 without Yama: then the file does not exist. */
function readPtraceScope(): number {
  try {
    return Number(readFileSync('/proc/sys/kernel/yama/ptrace_scope', 'latin1'));
  } catch {
    return 0;
  }
}

function tooLarge(bytes: number): Judgement {
  const reason = `A packet of ${bytes} bytes is too large: the limit is ${maxUserPacketBytes}`;
  return { on: 'malformed', errno: os.errno.EMSGSIZE, reason };
}

function malformed(reason: string): Judgement {
  return { on: 'malformed', errno: os.errno.EINVAL, reason: `This packet is no criu_req: ${reason}` };
}
