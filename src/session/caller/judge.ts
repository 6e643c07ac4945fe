/**
 * The path from bytes in a caller's queue to an input of the session machine: decode the packet, identify its caller, read the
 * caller and its target in /proc, authorize. The judge changes no state but its own; it owns the caller's pidfd.
 */
import { readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import { isConstant } from '../../engine/kept-answers.ts';
import type { SeqpacketSocket } from '../../native/binding.ts';
import { maxUserPacketBytes } from '../../native/limits.ts';
import { authorize, type Restorers, targetOf } from '../../policy/authorize.ts';
import type { Phase } from '../../policy/request-table.ts';
import { judgeStanding, type Standing, type StandingOptions } from '../../policy/standing.ts';
import { foreignUid } from '../../policy/tree-rule.ts';
import { ticksNow } from '../../proc/audit-session.ts';
import {
  type Caller,
  CallerGoneError,
  type CallerState,
  identifyCaller,
  isThere,
} from '../../proc/caller.ts';
import type { CallerReader } from '../../proc/caller-reader.ts';
import type { ProcMount } from '../../proc/proc-mount.ts';
import { lineagesOf, type TreeContains, type TreeThread } from '../../proc/process-tree.ts';
import type { TreeReader } from '../../proc/tree-reader.ts';
import { decodeRequest } from '../../protocol/codec.ts';
import type { CriuReq } from '../../protocol/messages.ts';
import type { Input } from '../machine/states.ts';

export interface JudgeContext {
  /** The service's own state: the measure for "fully privileged". */
  readonly own: CallerState;
  readonly reader: CallerReader;
  readonly trees: TreeReader;
  readonly standing: StandingOptions;
  readonly procMount: ProcMount;
  readonly restorers: Restorers;
}

/**
 * The standing of an unidentified caller. It suffices for a VERSION or FEATURE_CHECK, which anyone may ask: a probe answers it,
 * and it names no descriptor. Reading /proc would take longer than the answer, and a hostile caller could make it slower.
 */
const unread: Standing = { kind: 'refused', reason: 'what it is was not looked at' };

/** Without a tree to check, the engines are not listed. */
const none: ReadonlySet<number> = new Set();
const noLineages: TreeContains = () => false;

/** The result of judging a packet. */
export type Judgement = Extract<Input, { on: 'decided' | 'malformed' }>;

export class Judge {
  readonly #context: JudgeContext;
  #caller: Caller | undefined;
  #standing: Standing = { kind: 'refused', reason: 'it has not said anything yet' };

  constructor(context: JudgeContext) {
    this.#context = context;
  }

  /** Identifies the caller of a session that an earlier start has judged. A caller that has ended stays unknown. */
  recall(socket: SeqpacketSocket): void {
    try {
      this.#caller ??= identifyCaller(socket);
    } catch {
      // The caller has ended: no request of its can be judged any more.
    }
  }

  get callerIsThere(): boolean {
    return this.#caller !== undefined && isThere(this.#caller);
  }

  /** Known after the first packet that needed an identified caller (see `unread`). */
  get caller(): Caller | undefined {
    return this.#caller;
  }

  /** As of the last packet that was judged. */
  get standing(): Standing {
    return this.#standing;
  }

  /** The identity of an engine for the last packet, if it is started now; undefined for a privileged engine. */
  get confined(): ConfinedIdentity | undefined {
    if (!this.#caller || this.#standing.kind !== 'confined') return undefined;
    const { uid, gid } = this.#caller.identity;
    return { uid, gid, traits: this.#standing.traits, since: ticksNow() };
  }

  /**
   * @param socket the caller's connection.
   * @param onReading called before the caller is read in /proc, which can take long.
   * @returns a promise unless the caller is root: other callers are read on another thread, and the tree of their target in
   * turns.
   */
  judge(
    data: Buffer,
    phase: Phase,
    socket: SeqpacketSocket,
    onReading: () => void,
  ): Judgement | Promise<Judgement> {
    // For root, decode the packet as CRIU does. Any other caller must encode it so that every parser sees the same.
    const mode = socket.peerCredentials().uid === 0 ? 'lenient' : 'strict';
    const decoded = decodeRequest(data, mode);
    if (decoded.kind === 'malformed') return malformed(decoded.reason);
    const { message } = decoded;
    const asksNothingOfItsCaller = phase === 'first' && isConstant(message.type, data);
    if (!asksNothingOfItsCaller) onReading();
    const standing = asksNothingOfItsCaller ? unread : this.#identify(socket);
    const judgeAs = (read: Standing): Judgement | Promise<Judgement> => {
      this.#standing = read;
      if (read.kind === 'fully-privileged') return this.#authorize(message, phase, [], none);
      return mode === 'strict' ? this.#judgeUser(read, message, phase) : this.#judgeLess(read, data, phase);
    };
    return standing instanceof Promise ? standing.then(judgeAs) : judgeAs(standing);
  }

  /** A caller with uid 0 that is not fully privileged. */
  #judgeLess(standing: Standing, data: Buffer, phase: Phase): Judgement | Promise<Judgement> {
    if (data.length > maxUserPacketBytes) return tooLarge(data.length);
    const decoded = decodeRequest(data, 'strict');
    return decoded.kind === 'malformed'
      ? malformed(decoded.reason)
      : this.#judgeUser(standing, decoded.message, phase);
  }

  #judgeUser(standing: Standing, message: CriuReq, phase: Phase): Judgement | Promise<Judgement> {
    const { pid, uid } = this.#caller?.identity ?? {};
    const target = pid === undefined ? undefined : targetOf(message, pid);
    return standing.kind !== 'confined' || uid === undefined || target === undefined || target <= 0
      ? this.#authorize(message, phase, [], none)
      : this.#context.trees
          .read(uid, target, (thread) => this.#isForeign(thread))
          .then((tree) => this.#authorize(message, phase, tree, EngineCgroup.allMembers()));
  }

  /** One thread of another user is enough to refuse a tree. */
  #isForeign(thread: TreeThread): boolean {
    return foreignUid(thread, this.#caller?.identity.uid ?? -1) !== undefined;
  }

  /**
   * True if the caller's standing is the same as when its packet was judged (TOCTOU). The launcher copied the caller's traits
   * later: if the caller executed another program in between, the engine could have more than the judged caller had.
   */
  async stillStands(): Promise<boolean> {
    try {
      const { own, reader, standing } = this.#context;
      const caller = this.#caller!;
      return isDeepStrictEqual(
        judgeStanding(caller.identity, await reader.read(caller), own, standing),
        this.#standing,
      );
    } catch {
      return false;
    }
  }

  close(): void {
    this.#caller?.pidfd.close();
  }

  #authorize(
    message: CriuReq,
    phase: Phase,
    tree: readonly TreeThread[],
    engines: ReadonlySet<number>,
  ): Judgement | Promise<Judgement> {
    const { pid = 0 } = this.#caller?.identity ?? {};
    const target = targetOf(message, pid);
    const lineages = target === undefined ? noLineages : lineagesOf([process.pid, pid]);
    return lineages instanceof Promise
      ? lineages.then((read) => this.#decide(message, phase, tree, engines, read))
      : this.#decide(message, phase, tree, engines, lineages);
  }

  #decide(
    message: CriuReq,
    phase: Phase,
    tree: readonly TreeThread[],
    engines: ReadonlySet<number>,
    treeContains: TreeContains,
  ): Judgement {
    const { identity } = this.#caller ?? {};
    const callerGroups = identity ? [identity.gid, ...identity.groups] : [];
    const decision = authorize(message, {
      phase,
      standing: this.#standing,
      callerPid: this.#caller?.identity.pid ?? 0,
      callerUid: this.#caller?.identity.uid ?? -1,
      callerGid: this.#caller?.identity.gid ?? -1,
      treeContains,
      servicePid: process.pid,
      tree,
      allCapabilities: allCapabilities(),
      engines,
      restorers: this.#context.restorers,
      callerGroups,
      hidden: this.#context.procMount.hidesFrom(callerGroups),
      ptraceScope: this.#standing.kind === 'confined' ? readPtraceScope() : 0,
    });
    return { on: 'decided', decision };
  }

  #identify(socket: SeqpacketSocket): Standing | Promise<Standing> {
    try {
      this.#caller ??= identifyCaller(socket);
      const state = this.#context.reader.read(this.#caller);
      return state instanceof Promise
        ? state.then((read) => this.#stand(read)).catch(unidentified)
        : this.#stand(state);
    } catch (error) {
      return unidentified(error as Error);
    }
  }

  #stand(state: CallerState): Standing {
    const { identity, bound } = this.#caller!;
    const standing = judgeStanding(identity, state, this.#context.own, this.#context.standing);
    return standing.kind === 'confined' && !bound
      ? {
          kind: 'refused',
          reason: 'serving users without root needs Linux 6.5 (SO_PEERPIDFD), and this kernel is older',
        }
      : standing;
  }
}

function unidentified(error: Error): Standing {
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
