/**
 * Decides about one packet. Pure: everything from /proc comes in as {@link Facts}.
 *
 * A refusal is the reply to the caller and the reason in the journal.
 */
import { constants as os } from 'node:os';
import type { JobProcess } from '../proc/jobs.ts';
import type { TreeContains, TreeThread } from '../proc/process-tree.ts';
import { encodeRequest } from '../protocol/codec.ts';
import { type CriuOpts, type CriuReq, ReqType, reqTypeName } from '../protocol/messages.ts';
import { bitOf } from './capabilities.ts';
import type { Obstacle } from './comes-back.ts';
import { type CriuVersion, nameOfVersion } from './criu-version.ts';
import { inheritedFds, withCopies } from './inherited.ts';
import {
  isSet,
  type OptionName,
  type OptionRow,
  optionTable,
  type PeerFdField,
  peerFdFields,
  unknownOption,
} from './option-table.ts';
import { type Phase, type RequestRow, requestTable } from './request-table.ts';
import type { Standing } from './standing.ts';
import { endedAsOrphans } from './stopped-job.ts';
import { refusedTree, type TreeFacts, type TreeRefusal, warningAbout } from './tree-rule.ts';
import { type Tracing, tracingUnder } from './yama.ts';

const { EPERM, EINVAL } = os.errno;

/** The facts about an authorized request that its session uses from here on. */
export interface AuthorizedRequest {
  /** criu_req_type as sent. */
  readonly type: number;
  /** The name of that type, for records. */
  readonly name: string;
  /** The type that CRIU's reply carries. */
  readonly answeredAs: number;
  readonly keepOpen: boolean;
  /** A success leads to another round (RequestRow.isRound). */
  readonly isRound?: true;
  /** A failure does not say that CRIU has rolled back. */
  readonly worksInChild?: true;
  /** A failing reply has no errno, and the request is idempotent (RequestRow.failsWithoutErrno). */
  readonly failsWithoutErrno?: true;
  /** The pid whose tree is dumped, where the request has one. */
  readonly target?: number;
  /**
   * The kind of engine that serves the request: with root's rights, with its caller's identity, or without anything from the
   * caller.
   */
  readonly engine: 'privileged' | 'confined' | 'probe';
  /** The caller asked for notifications. */
  readonly notifies: boolean;
  /** The caller gets the master ends of terminals that no restored process has. */
  readonly terminal?: true;
  /** The processes of the target's tree must name the engine before it can trace them (yama.ts). */
  readonly namesEngine?: true;
  /** The processes that the request leaves behind outlive the session, and stay in a scope. */
  readonly scope?: 'restore' | 'page-server';
  /** The engine holds no CAP_CHECKPOINT_RESTORE, unless the caller's children do. */
  readonly noCapability?: true;
  /** A first try has met a pid of this service's own (session/machine/again.ts). */
  readonly isSecondTry?: true;
  /** A sentence for the reply to a success, and for the record: what the caller will miss. */
  readonly warning?: string;
}

/** A descriptor that a request names by its number in the caller. */
export interface PeerFd {
  readonly field: PeerFdField;
  readonly callerNumber: number;
}

/** The preparations for relaying a request to an engine. */
export interface RelayPlan {
  /** The caller's pid, where the request means the caller by omitting the pid: CRIU would use its peer, which is this service. */
  readonly pid?: number;
  readonly peerFds: readonly PeerFd[];
  /** The opener of peerFds: the service copies them; a confined engine opens them as the caller. */
  readonly openedBy: 'service' | 'engine';
  /** Descriptor numbers of the caller: the same in a privileged engine, other numbers in a confined one (inherited.ts). */
  readonly engineFds: readonly number[];
  /** The new encoding that the engine gets instead of the caller's bytes; absent for a fully privileged caller. */
  readonly fresh?: Buffer;
  /** A path that is opened as the caller, and replaces images_dir_fd. */
  readonly imagesDir?: string;
  /**
   * The request names no images directory, and this service lends its own (RequestRow.lendsLogDirectory).
   */
  readonly lendLogDirectory: boolean;
  /** CRIU's log_file, where the request has one. */
  readonly logFile?: string;
}

export type Decision =
  | { readonly kind: 'relay'; readonly request: AuthorizedRequest; readonly plan: RelayPlan }
  | { readonly kind: 'hand-over'; readonly request: AuthorizedRequest }
  | { readonly kind: 'answer' }
  | Refusal;

export interface Refusal {
  readonly kind: 'refuse';
  /** The reply's type: the request's, or EMPTY if the packet is no request. */
  readonly type: number;
  /** Positive errno for cr_errno. */
  readonly errno: number;
  /** One sentence for the caller and the journal. */
  readonly reason: string;
  /** The name of the requested type, for records; absent if the packet is no request. */
  readonly name?: string;
  readonly target?: number;
}

/** The facts that a decision rests on, besides the packet. */
export interface Facts {
  readonly phase: Phase;
  readonly standing: Standing;
  readonly callerPid: number;
  readonly callerUid: number;
  readonly callerGid: number;
  /** Answers for the pids of this service and of the caller. */
  readonly treeContains: TreeContains;
  readonly servicePid: number;
  /** Every thread of the target's tree; read for confined callers only. */
  readonly tree?: readonly TreeThread[];
  /** The callers without root that may restore. */
  readonly restorers: Restorers;
  /** The caller's groups, its gid among them. */
  readonly callerGroups: readonly number[];
  /** Another process than the one that connected has sent the packet. */
  readonly passedOn: boolean;
  /** /proc hides other users' processes from the caller (hidepid). */
  readonly hidden: boolean;
  /** kernel.yama.ptrace_scope; 0 where there is no Yama. */
  readonly ptraceScope: number;
  /** As {@link canName} of yama.ts, where an administrator lets it happen (--yama). */
  readonly canName: boolean;
  /** The kernel tells which pages have changed since a moment (Documentation/admin-guide/mm/soft-dirty.rst). */
  readonly tracksMemory: boolean;
  /** Every capability that this kernel has. */
  readonly allCapabilities: bigint;
  readonly groupName: (gid: number) => string | undefined;
  /** The processes in the cgroups of our engines, read after the tree; for confined callers only, like the tree. */
  readonly engines: ReadonlySet<number>;
  /** The installed CRIU; undefined if its version is unknown, or if no option of the request depends on it. */
  readonly criu?: CriuVersion | undefined;
  /** A sentence for each known limit of the installed CRIU on this kernel (RequestRow.tellsLimits). */
  readonly limits?: readonly string[];
  /** The obstacles that the surroundings of the tree's processes are; for confined callers only, like the tree. */
  readonly around: readonly Obstacle[];
  /** The tree of a fully privileged caller's dump with shell_job, if its root is a job of a shell. */
  readonly job?: readonly JobProcess[];
}

/** The option --restore. With `root`, restoring takes root. */
export type Restorers =
  | { readonly who: 'all' }
  | { readonly who: 'root' }
  | { readonly who: 'group'; readonly name: string; readonly gid: number };

/** The root pid of the tree that a request is about, which must be read first; undefined for requests without a target. */
export function targetOf(message: CriuReq, callerPid: number): number | undefined {
  return requestTable.get(message.type)?.target ? (message.opts?.pid ?? callerPid) : undefined;
}

/** True for a dump that {@link Facts.job} matters for: CRIU restores what it has dumped as a job as one. */
export function dumpsJob(message: CriuReq): boolean {
  return requestTable.get(message.type)?.endsTarget === true && message.opts?.shell_job === true;
}

export function authorize(message: CriuReq, facts: Facts): Decision {
  const decision = decide(message, facts);
  if (decision.kind !== 'refuse' || !requestTable.has(message.type)) return decision;
  const target = targetOf(message, facts.callerPid);
  return { ...decision, name: reqTypeName(message.type), ...(target === undefined ? {} : { target }) };
}

function decide(message: CriuReq, facts: Facts): Decision {
  const row = requestTable.get(message.type);
  if (row === undefined) {
    return refuse(ReqType.EMPTY, EINVAL, `Invalid request: ${message.type} is no request type`);
  }
  const name = reqTypeName(message.type);
  if (!row.phases.includes(facts.phase)) {
    return refuse(ReqType.EMPTY, EINVAL, `Bad request sequence: ${name} cannot come now`);
  }
  const answeredAs = row.answeredAs ?? message.type;
  const engine = engineFor(row, facts.standing);
  if (typeof engine === 'object') return refuse(answeredAs, EPERM, `${name} refused: ${engine.refused}`);
  if (facts.phase === 'notify') return { kind: 'answer' };
  if (message.keep_open && !row.keepOpen) {
    return refuse(
      answeredAs,
      EINVAL,
      `keep_open does not go with ${name}: CRIU would end the connection without a reply`,
    );
  }
  if (row.needs !== undefined && !message[row.needs]) {
    return refuse(answeredAs, EINVAL, `${name} without ${row.needs} says nothing`);
  }
  const inTheWay = refusedOption(message.opts, engine) ?? optionOfNewerCriu(message.opts, engine, facts);
  if (inTheWay !== undefined) return refuse(answeredAs, EPERM, `${name} refused: ${inTheWay}`);

  const barred = engine === 'confined' ? barredFromMachine(message, row, facts) : undefined;
  if (barred !== undefined) return refuse(answeredAs, EPERM, `${name} refused: ${barred}`);

  const ownPid = row.target && message.opts?.pid == null;
  const target = targetOf(message, facts.callerPid);
  const request: AuthorizedRequest = {
    type: message.type,
    name,
    answeredAs,
    keepOpen: message.keep_open ?? false,
    engine,
    notifies: message.opts?.notify_scripts ?? false,
    ...(row.scope === undefined ? {} : { scope: row.scope }),
    ...(row.noCapability ? { noCapability: row.noCapability } : {}),
    ...(row.isRound ? { isRound: row.isRound } : {}),
    ...(row.worksInChild ? { worksInChild: row.worksInChild } : {}),
    ...(row.failsWithoutErrno ? { failsWithoutErrno: row.failsWithoutErrno } : {}),
    ...(engine === 'confined' && tracingOf(row, facts) === 'named' ? { namesEngine: true as const } : {}),
    ...(row.scope === 'restore' && message.opts?.notify_scripts && message.opts.orphan_pts_master
      ? { terminal: true as const }
      : {}),
    ...(target === undefined ? {} : { target }),
  };
  let warning = row.tellsLimits ? joined(facts.limits) : undefined;
  if (target !== undefined && target > 0) {
    const judged = judgeTree(target, row, message.opts, facts);
    if (typeof judged === 'object')
      return refuse(answeredAs, judged.errno, `${name} refused: ${judged.reason}`);
    warning = judged;
    if (facts.treeContains(target, facts.servicePid)) {
      return refuse(
        answeredAs,
        EINVAL,
        `The tree of process ${target} contains this service, which cannot freeze itself`,
      );
    }
    if (row.handsOver && facts.treeContains(target, facts.callerPid)) {
      return handOver(message, warned(request, warning));
    }
  }
  const plan = planRelay(message, row, engine, ownPid ? facts.callerPid : undefined);
  if (engine === 'confined' && plan.lendLogDirectory) {
    return refuse(answeredAs, EINVAL, `${name} needs images_dir_fd or images_dir: CRIU writes its log there`);
  }
  return { kind: 'relay', request: warned(request, warning), plan };
}

/** @returns a refusal, or a warning about a dump that is served. A fully privileged caller restores everything but a stopped job. */
function judgeTree(
  target: number,
  row: RequestRow,
  opts: CriuOpts | null | undefined,
  facts: Facts,
): TreeRefusal | string | undefined {
  const { standing, tree = [], callerUid: uid, callerGid: gid } = facts;
  if (standing.kind !== 'confined') return judgeJob(target, row, opts, facts);
  const { inheritable } = standing.traits;
  const treeFacts: TreeFacts = { ...facts, inheritable, ends: ends(row, opts) };
  return (
    refusedTree(target, tree, { uid, gid, permitted: standing.traits.permitted }, treeFacts) ??
    (row.endsTarget ? warningAbout(tree, treeFacts) : undefined)
  );
}

function judgeJob(
  target: number,
  row: RequestRow,
  opts: CriuOpts | null | undefined,
  { job = [] }: Facts,
): TreeRefusal | string | undefined {
  const obstacle = endedAsOrphans(target, job);
  if (!obstacle) return undefined;
  const what = `process ${obstacle.pid} of the tree ${obstacle.what}`;
  return ends(row, opts) ? { errno: EPERM, reason: `${what}: ${obstacle.remedy}` } : what;
}

/** The session keeps the request in a page beside other facts, so the sentence is cut short. */
const mostWarning = 500;

function warned(request: AuthorizedRequest, warning: string | undefined): AuthorizedRequest {
  return warning === undefined ? request : { ...request, warning: warning.slice(0, mostWarning) };
}

/** The target's processes end with the request. */
function ends(row: RequestRow, opts: CriuOpts | null | undefined): boolean {
  return row.endsTarget === true && !opts?.leave_running && !opts?.leave_stopped;
}

/**
 * A dump whose tree contains the caller needs the caller's own connection: CRIU dumps that connection as closed, and on
 * restore gives the process a new one that already holds the answer (USK_SERVICE in CRIU's sk-unix.c).
 * The engine reads the packet itself, so nothing in it can be rewritten, and a frozen caller cannot answer.
 */
function handOver(message: CriuReq, request: AuthorizedRequest): Decision {
  const opts = message.opts;
  const inTheWay = opts?.notify_scripts
    ? 'notify_scripts'
    : opts?.inherit_fd?.length
      ? 'inherit_fd'
      : opts?.ps?.fd != null
        ? 'ps.fd'
        : undefined;
  if (inTheWay !== undefined) {
    return refuse(
      request.answeredAs,
      EINVAL,
      `${inTheWay} cannot be served for a dump of the caller's own tree: the caller is frozen while its connection is dumped`,
    );
  }
  return { kind: 'hand-over', request };
}

function engineFor(
  row: RequestRow,
  standing: Standing,
): AuthorizedRequest['engine'] | { readonly refused: string } {
  if (standing.kind === 'fully-privileged') return 'privileged';
  // A probe's answer is the same for every caller and says nothing about other users, so even the most confined caller may have
  // it.
  if (row.confined === 'probe') return 'probe';
  return standing.kind === 'confined' ? row.confined : { refused: standing.reason };
}

/** The restrictions of the administrator, or of this machine's kernel, for users without root. */
function barredFromMachine(message: CriuReq, row: RequestRow, facts: Facts): string | undefined {
  const { restorers, callerGroups, passedOn, ptraceScope, tracksMemory } = facts;
  if (row.scope === 'restore') {
    if (restorers.who === 'root') return 'on this machine only root may restore (--restore)';
    if (restorers.who === 'group' && !callerGroups.includes(restorers.gid)) {
      return `on this machine only root and the group ${restorers.name} may restore (--restore)`;
    }
  }
  const tracing = tracingOf(row, facts);
  if (tracing === 'refused') {
    return `kernel.yama.ptrace_scope is ${ptraceScope}, which keeps users without root from tracing their own processes; an administrator can set it to ${row.ptraceScope}${ptraceScope === 1 ? ', or start the service without --yama=none' : ''}`;
  }
  // What consents is the relation of the target to the process that connected. A process that got the connection has none.
  if (tracing === 'named' && passedOn) {
    return `kernel.yama.ptrace_scope is ${ptraceScope}, so the process that made this connection must send the request, and another has sent it: connect yourself`;
  }
  // CRIU ends with a failed assertion (BUG_ON in mem.c) in a pre-dump that the kernel cannot track.
  if ((row.tracksMemory || message.opts?.track_mem) && !tracksMemory) {
    return 'this kernel does not track the memory of processes (CONFIG_MEM_SOFT_DIRTY): use a plain DUMP, without track_mem';
  }
  return undefined;
}

function tracingOf(row: RequestRow, { ptraceScope, standing, canName }: Facts): Tracing {
  const mayTrace = standing.kind === 'confined' && (standing.traits.ambient & bitOf('SYS_PTRACE')) !== 0n;
  return tracingUnder({ scope: ptraceScope, needs: row.ptraceScope, mayTrace, canName });
}

/** @returns a sentence about the first option that this kind of engine is refused. */
function refusedOption(
  opts: CriuOpts | null | undefined,
  engine: AuthorizedRequest['engine'],
): string | undefined {
  if (!opts) return undefined;
  for (const name of Object.keys(optionTable) as OptionName[]) {
    const row: OptionRow = optionTable[name];
    const treatment = engine === 'privileged' ? row.privileged : row.confined;
    if (typeof treatment === 'object' && isSet(opts, name)) return `${name}: ${treatment.refused}`;
    const refusedValue = engine === 'privileged' ? undefined : row.refusedValue?.(opts);
    if (refusedValue !== undefined) return refusedValue;
  }
  return undefined;
}

/** CRIU ignores what it does not know. Root's requests are CRIU's own matter; a user is told. */
function optionOfNewerCriu(
  opts: CriuOpts | null | undefined,
  engine: AuthorizedRequest['engine'],
  { criu }: Facts,
): string | undefined {
  if (engine !== 'confined' || criu === undefined) return undefined;
  const unknown = unknownOption(opts, criu);
  return (
    unknown &&
    `the CRIU installed here (${nameOfVersion(criu)}) does not know ${unknown.name}; ${unknown.since} does`
  );
}

function joined(sentences: readonly string[] = []): string | undefined {
  return sentences.length > 0 ? sentences.join('; ') : undefined;
}

function planRelay(
  message: CriuReq,
  row: RequestRow,
  engine: AuthorizedRequest['engine'],
  pid: number | undefined,
): RelayPlan {
  // A probe gets nothing from its caller, descriptors least of all.
  const opts = engine === 'probe' ? undefined : message.opts;
  const peerFds: PeerFd[] = [];
  for (const field of peerFdFields) {
    const number = opts?.[field];
    // CRIU takes -1 in images_dir_fd for "none"; in the others any number counts.
    if (number != null && !(field === 'images_dir_fd' && number === -1)) {
      peerFds.push({ field, callerNumber: number });
    }
  }
  const inherited = opts ? inheritedFds(opts) : [];
  const placed = new Set(opts?.ps?.fd == null ? inherited : [...inherited, opts.ps.fd]);
  // CRIU 4.1.1 wants an images directory for CHECK even beside a work directory.
  const hasImagesDirectory = peerFds.some(({ field }) => field === 'images_dir_fd') || !!opts?.images_dir;
  return {
    ...(pid === undefined ? {} : { pid }),
    peerFds,
    openedBy: engine === 'confined' ? 'engine' : 'service',
    engineFds: engine === 'confined' ? inherited : [...placed],
    ...freshly(message, row, engine),
    // As in CRIU, images_dir counts only without images_dir_fd.
    ...(engine === 'confined' && opts?.images_dir && opts.images_dir_fd === -1
      ? { imagesDir: opts.images_dir }
      : {}),
    lendLogDirectory: row.lendsLogDirectory === true && !hasImagesDirectory,
    ...(opts?.log_file ? { logFile: opts.log_file } : {}),
  };
}

/**
 * Strict decoding has seen every field of `message`, so a fresh encoding holds only authorized fields. The plan may wait for its
 * engine for a long time. It keeps the encoded bytes, which are as short as the caller's packet; a decoded message would be
 * larger.
 */
function freshly(message: CriuReq, row: RequestRow, engine: AuthorizedRequest['engine']): { fresh?: Buffer } {
  switch (engine) {
    case 'privileged':
      return {};
    case 'probe':
      return {
        fresh: encodeRequest({
          type: message.type,
          ...(message.features ? { features: message.features } : {}),
        }),
      };
    case 'confined': {
      // Without `unprivileged` CRIU wants all of root's capabilities (check_caps in CRIU's util.c).
      const opts: CriuOpts = { images_dir_fd: -1, ...message.opts, unprivileged: true };
      return { fresh: encodeRequest({ ...message, opts: withCopies(row.confinedOptions?.(opts) ?? opts) }) };
    }
  }
}

function refuse(type: number, errno: number, reason: string): Refusal {
  return { kind: 'refuse', type, errno, reason };
}
