/**
 * The engines of one session: the latest, which has the request, and those before it that have yet to leave. Each has an
 * owner here until its process is gone and its cgroup is empty, or left to what may stay in it.
 */
import { readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import type { ConfinedEngineOptions, EngineHome, OpenedFiles } from '../../engine/confined.ts';
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import { type ConfinedEngineEvents, Engine, type EngineExit, usualConnection } from '../../engine/engine.ts';
import { EngineCgroup, isEngineCgroup, type ScopeKind } from '../../engine/engine-cgroup.ts';
import type { EnginePool } from '../../engine/engine-pool.ts';
import type { EngineQueue, EngineTurn } from '../../engine/engine-queue.ts';
import type { Kerndat } from '../../engine/kerndat.ts';
import {
  type EngineFd,
  type PrivilegedEngineOptions,
  startHandedOverEngine,
  startRelayedEngine,
  umaskFor,
} from '../../engine/privileged.ts';
import { StderrFile } from '../../engine/stderr-file.ts';
import { native, type OwnedFd, type Packet } from '../../native/binding.ts';
import type { AuthorizedRequest, RelayPlan } from '../../policy/authorize.ts';
import { bitOf } from '../../policy/capabilities.ts';
import type { Restorer } from '../../policy/restored.ts';
import type { ThreadState } from '../../proc/caller.ts';
import type { UserKey } from '../../proc/connection-user.ts';
import { parseCgroup } from '../../proc/process-tree.ts';
import type { Judge } from '../caller/judge.ts';
import type { Holder } from '../keep/find-engine.ts';
import type { EngineSnapshot, SessionSnapshot } from '../keep/session-file.ts';
import type { StoredSession } from '../keep/stored-sessions.ts';
import { endEscaped, endRestored, knownBy } from '../trees/sweep.ts';
import { letRestoredRun, verifyRestored } from '../trees/verify-restored.ts';
import { sliceOfCaller, startEngineAs } from './confined-start.ts';

export interface EnginesContext {
  readonly engine: PrivilegedEngineOptions;
  readonly pool: EnginePool;
  readonly confined: ConfinedEngineOptions;
  readonly queue: EngineQueue;
  /** For engines that have become their callers. */
  readonly kerndat: Kerndat;
}

/** The request never got an engine; the message is a whole sentence. */
export class NotStartedError extends Error {
  override readonly name = 'NotStartedError';
  /** Positive. */
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.errno = errno;
  }
}

/** What the latest engine says; nothing is heard of one that was dismissed, but that it has left. */
export interface SessionEnginesEvents {
  /** `confined`: it comes from an engine that is its caller's to deceive us with. */
  onMessage(packet: Packet, confined: boolean): void;
  onHangup(): void;
  /** Whether this message is to carry the master of a terminal. */
  expectsTerminal(message: Buffer): boolean;
  /** A confined engine cannot be what it should; the reason is a sentence. */
  onLie(reason: string): void;
  onEnd(exit: EngineExit): void;
  /** The latest engine has gone without having read what it was sent: {@link SessionEngines.replace} starts another one. */
  onUnread(): void;
  /** None is left. */
  onAllGone(): void;
}

/** An engine that was there before its request may end without having read it, and has done nothing about it then. */
interface Ahead {
  readonly request: AuthorizedRequest;
  /** It was sent its request. */
  sent?: true;
  /** How it ended before that. */
  exit?: EngineExit;
}

interface Held {
  readonly engine: Engine;
  /** Which engine of the session it is, counted from 1. */
  readonly serial: number;
  /** Undefined once another one is in its turn. */
  turn: EngineTurn | undefined;
  /** Undefined for a privileged engine, until it restores. */
  cgroup: EngineCgroup | undefined;
  /** Where the engine is once the tree that it has restored was verified, so that the tree alone stays frozen. */
  apart?: EngineCgroup;
  /** What it leaves behind may stay: a restored tree. */
  stays: boolean;
  /** Whom it has become: what it took over from a confined caller, whatever that caller is since, and whether or not it is there. */
  readonly confined: ConfinedIdentity | undefined;
  /** Until the engine has said something, or is to leave. */
  ahead?: Ahead | undefined;
}

export class SessionEngines {
  readonly #context: EnginesContext;
  readonly #user: UserKey;
  readonly #judge: Judge;
  readonly #events: SessionEnginesEvents;
  readonly #held = new Set<Held>();
  #latest: Held | undefined;
  /** Engines so far. */
  #serials = 0;
  /** Engines on their way: a launcher that becomes its caller, a scope that is made. */
  #starting = 0;
  /** Resolves when the launcher that has just failed has gone; its turn is taken until then. */
  #abandoned: Promise<void> | undefined;
  /** What the request waits for that has no engine yet. */
  #waiting: EngineTurn | undefined;

  /** @param user for whom the engines count. */
  constructor(context: EnginesContext, user: UserKey, judge: Judge, events: SessionEnginesEvents) {
    this.#context = context;
    this.#user = user;
    this.#judge = judge;
    this.#events = events;
  }

  /** True while a process of this session's is there. */
  get busy(): boolean {
    return this.#held.size > 0 || this.#starting > 0;
  }

  /** True while the latest engine runs, so that its end is still to be heard of. */
  get running(): boolean {
    return this.#latest !== undefined && this.#held.has(this.#latest);
  }

  /**
   * Starts the engine of a request that is relayed, in its turn; those before it are not heard of any more.
   * @param plan its files are opened as the caller by an engine that becomes it.
   * @param engineFds copies that a privileged engine gets under numbers of the request.
   * @param bytes how long the request is.
   * @returns the numbers of the files that the engine opened.
   * @throws what starting one throws
   */
  relay(
    request: AuthorizedRequest,
    plan: RelayPlan,
    engineFds: readonly EngineFd[],
    bytes: number,
  ): Promise<OpenedFiles> {
    return this.#inTurn(request, bytes, async (turn) => {
      if (request.engine === 'confined') return this.#startConfined(request, turn, plan, undefined);
      // Descriptors can be put into an engine only when it starts.
      const umask = umaskFor(request.type);
      const waiting = engineFds.length === 0 ? this.#context.pool.take(umask, this.#heard()) : undefined;
      const engine = waiting ?? startRelayedEngine(this.#context.engine, umask, engineFds, this.#heard());
      const held = this.#hold(engine, turn, undefined, request, undefined);
      if (waiting) held.ahead = { request };
      await this.house(request);
      return {};
    });
  }

  /** The latest engine, which waits since the request before, is to have another one; where it has left, one that is started for it. */
  async reuse(request: AuthorizedRequest): Promise<void> {
    if (this.#latest) this.#latest.ahead = { request };
    await this.house(request);
  }

  /** Starts an engine on the caller's own connection, which is copied; those before it are not heard of any more. */
  async handOver(request: AuthorizedRequest, connection: OwnedFd, bytes: number): Promise<void> {
    await this.#inTurn(request, bytes, async (turn) => {
      if (request.engine === 'confined') await this.#startConfined(request, turn, undefined, connection);
      else {
        const engine = startHandedOverEngine(this.#context.engine, connection, this.#heard());
        this.#hold(engine, turn, undefined, request, undefined);
      }
    });
  }

  /** Goes on with an engine that an earlier start of this service has started. Takes over its descriptors. */
  adopt(
    stored: NonNullable<StoredSession['engine']>,
    { serial, pid, connection, cgroup, apart, stays, confined }: EngineSnapshot,
  ): void {
    this.#serials = serial;
    const heard = this.#heard();
    const engine = new Engine(
      native.adoptProcess(stored.pidfd, pid),
      stored.socket && native.adopt(stored.socket),
      new StderrFile('criu-stderr', stored.stderr),
      heard,
      connection,
      confined && heard,
    );
    // It runs already, whatever the limits are now.
    const turn = this.#context.queue.count(this.#user, confined === undefined);
    this.#latest = {
      engine,
      serial,
      turn,
      cgroup: cgroup && EngineCgroup.again(cgroup.path, cgroup.scope),
      ...(apart === undefined ? {} : { apart: EngineCgroup.again(apart, false) }),
      stays,
      confined,
    };
    this.#held.add(this.#latest);
  }

  /**
   * Goes on with an engine of which an earlier start of this service has kept nothing. Its words on stderr are lost.
   * @param confined whom it has become; undefined for a privileged one.
   */
  adoptFound({ pid, pidfd }: Holder, confined: ConfinedIdentity | undefined): void {
    const { fd: stderr } = new StderrFile('criu-stderr');
    const path = engineCgroupOf(pid);
    const cgroup = path === undefined ? {} : { cgroup: { path, scope: false } };
    const whom = confined === undefined ? {} : { confined: knownBy(confined, { pid, pidfd }) };
    this.adopt(
      { pidfd, stderr, socket: undefined },
      {
        serial: this.#serials + 1,
        pid,
        connection: usualConnection,
        stays: false,
        ...cgroup,
        ...whom,
      },
    );
  }

  /**
   * Ends a launcher, or an engine that has not read its request: it has done nothing. Resolves when it has gone.
   * @param becomes whom it has become, or was about to; undefined for a privileged one.
   */
  endUnbegun({ pid, pidfd }: Holder, becomes: ConfinedIdentity | undefined): Promise<void> {
    const path = engineCgroupOf(pid);
    const left = becomes && knownBy(becomes, { pid, pidfd });
    const held = native.adoptProcess(pidfd, pid);
    held.signal(os.signals.SIGKILL);
    return new Promise((resolve) => {
      held.onExit(() => {
        held.close();
        const cgroup = path === undefined ? undefined : EngineCgroup.again(path, false);
        cgroup?.kill();
        this.sweep(left);
        cgroup?.remove();
        resolve();
      });
    });
  }

  /** The latest engine, for whoever goes on with it after this service: what is no descriptor. */
  get snapshot(): Pick<SessionSnapshot, 'engine' | 'engineInode'> {
    const { snapshot, inode } = this.#describe() ?? {};
    return { ...(snapshot ? { engine: snapshot } : {}), ...(inode ? { engineInode: inode } : {}) };
  }

  /** Lends the descriptors of the latest engine, if there is one, to whoever has them kept. */
  lend(keep: (serial: number, fds: readonly OwnedFd[]) => void): void {
    if (!this.#latest || !this.running) return;
    const { engine, serial } = this.#latest;
    const { pidfd, stderr, socket } = engine.fds;
    const copy = socket?.copy();
    keep(serial, [pidfd, stderr, ...(copy ? [copy] : [])]);
    copy?.close();
  }

  #describe(): { readonly snapshot: EngineSnapshot; readonly inode?: string } | undefined {
    // One whose tree is frozen counts when it has gone, too.
    if (!this.#latest || !(this.running || this.#latest.apart)) return undefined;
    const { engine, serial, cgroup, apart, stays, confined } = this.#latest;
    const inode = engine.fds.socket?.inode().toString();
    return {
      snapshot: {
        serial,
        pid: engine.pid,
        connection: engine.connection,
        stays,
        ...(cgroup ? { cgroup: { path: cgroup.path, scope: cgroup.scope !== undefined } } : {}),
        ...(apart ? { apart: apart.path } : {}),
        ...(confined ? { confined } : {}),
      },
      ...(inode ? { inode } : {}),
    };
  }

  /** A request that has no engine yet will get none. */
  stopWaiting(errno: number, reason: string): void {
    this.#waiting?.cancel(new NotStartedError(errno, reason));
  }

  /** What outlives its session lives in a scope with root, too; its engine waits for the request meanwhile. */
  async house(request: AuthorizedRequest): Promise<void> {
    const held = this.#latest;
    const { scope } = request;
    if (held && request.engine === 'privileged' && scope !== undefined) {
      held.stays = true;
      try {
        held.cgroup = await this.#starts(() => this.#scope(scope, held.engine.pid));
      } catch (error) {
        if (!held.ahead || held.engine.waits) throw error;
        await this.#startAgain(held, request);
      }
    }
  }

  /** Whether the latest engine, which was sent at most one message so far, has had none; undefined where that cannot be known. */
  get waitsForRequest(): boolean | undefined {
    return this.running ? this.#latest!.engine.sleepsReading : false;
  }

  /** The latest engine's, for records. */
  get pid(): number | undefined {
    return this.#latest?.engine.pid;
  }

  /**
   * The scope that a restored tree lives in. What root restores CRIU moves to the cgroup that it had, where there is one
   * (move_in_cgroup in CRIU's cgroup.c); a confined tree was verified to be where it should.
   */
  scopeOf(restored: number): string | undefined {
    const { cgroup } = this.#latest ?? {};
    return cgroup && livesIn(cgroup, restored) ? cgroup.scope : undefined;
  }

  /** What an engine says that it has restored: a confined one could name anybody, and counts only for what is in its scope. */
  restored(pid: number | null | undefined): number | undefined {
    const { cgroup, confined } = this.#latest ?? {};
    if (pid == null || (confined && !(cgroup && livesIn(cgroup, pid)))) return undefined;
    return pid;
  }

  get lastWords(): readonly string[] {
    return this.#latest?.engine.lastWords ?? [];
  }

  send(data: Uint8Array): void {
    const held = this.#latest;
    if (!held) return;
    if (held.ahead) held.ahead.sent = true;
    // Later, because whoever sends has yet to write down that it has.
    if (!held.engine.send(data) && held.ahead) queueMicrotask(() => this.#events.onUnread());
  }

  /** Another engine in the place and the turn of the latest, which has not read its request. @throws what starting one throws */
  async replace(request: AuthorizedRequest): Promise<void> {
    const held = this.#latest;
    if (!held) return;
    try {
      await this.#startAgain(held, request);
    } catch (error) {
      held.turn?.release();
      this.dismiss();
      throw error;
    }
  }

  dismiss(): void {
    const held = this.#latest;
    if (!held) return;
    const ended = held.ahead?.exit;
    held.ahead = undefined;
    held.engine.dismiss();
    if (!ended) return;
    held.turn?.release();
    this.#events.onEnd(ended);
  }

  /** Lets go of an engine that has done nothing. What a confined one might do all the same must not stay. */
  abandon(): void {
    if (this.#latest?.confined) this.killTree();
    this.dismiss();
    this.setAside();
  }

  resume(): void {
    this.#latest?.engine.resume();
  }

  /**
   * Ends everything in the engine's cgroup, itself included, and what its caller had moved out of there: systemd moves the
   * processes of a user to that user's own units when asked (AttachProcessesToUnit).
   */
  killTree(): void {
    const held = this.#latest;
    if (!held?.cgroup) return;
    held.stays = false;
    // The engine by its pidfd, too: it may have been moved elsewhere with its tree, which ends with it (PTRACE_O_EXITKILL) wherever it is.
    held.engine.kill();
    held.cgroup.kill();
    held.apart?.kill();
    const { confined, cgroup, apart } = held;
    if (!confined) return;
    const killed = [cgroup.path, ...(apart ? [apart.path] : [])];
    // It tells of its failures itself.
    this.#starts(() => endRestored(confined, killed)).catch(() => {});
    this.sweep(confined);
  }

  /** Ends the latest engine, and nothing else: it has said its last word. */
  killEngine(): void {
    this.#latest?.engine.kill();
  }

  /**
   * Verifies what the engine has restored, and lets the engine alone go on: the tree stays frozen.
   * @returns why it must not run; undefined when it may.
   */
  async verify(surroundings: ThreadState): Promise<string | undefined> {
    const held = this.#latest;
    const restorer = this.#restorer(surroundings);
    if (!held?.cgroup || !restorer) return 'is not where it should be';
    // An earlier start of this service may have been killed here: then systemd has removed the directory, if it was empty.
    held.apart = EngineCgroup.apartFrom(held.cgroup);
    return verifyRestored(held.cgroup, held.apart, held.engine.pid, restorer);
  }

  /**
   * Lets run what was verified; its engine has gone.
   * @returns why it must not run; undefined when it does.
   */
  async letRun(surroundings: ThreadState): Promise<string | undefined> {
    const held = this.#latest;
    const restorer = this.#restorer(surroundings);
    if (!held?.cgroup || !held.apart || !restorer) return 'is not where it should be';
    if (!held.engine.gone) return 'was to run beside its engine, which is still there';
    const reason = await letRestoredRun(held.cgroup, restorer);
    held.apart.remove();
    delete held.apart;
    return reason;
  }

  #restorer(surroundings: ThreadState): Restorer | undefined {
    const { caller } = this.#judge;
    const traits = this.#latest?.confined?.traits;
    if (!caller || !traits) return undefined;
    const { uid, gid, groups } = caller.identity;
    return { uid, gid, groups, traits, surroundings };
  }

  /** What an engine with this identity had moved out of its cgroup is ended; nothing for a privileged one. */
  sweep(confined: ConfinedIdentity | undefined): void {
    if (!confined) return;
    this.#starts(() => endEscaped(confined)).catch(() => {
      // It tells of its failures itself.
    });
  }

  /** Nothing is heard of the latest one any more, but that it has left: what it said last has been dealt with. */
  setAside(): void {
    const held = this.#latest;
    this.#latest = undefined;
    held?.engine.resume();
  }

  /** There are only so many engines at once. */
  #inTurn<T>(request: AuthorizedRequest, bytes: number, start: (turn: EngineTurn) => Promise<T>): Promise<T> {
    return this.#starts(async () => {
      this.setAside();
      const paced = request.engine === 'confined' && request.scope !== undefined;
      const turn = this.#context.queue.ask(this.#user, request.engine === 'privileged', bytes, paced);
      if (typeof turn === 'string')
        throw new NotStartedError(os.errno.EAGAIN, `${request.name} refused: ${turn}`);
      if (turn.ready) {
        this.#waiting = turn;
        try {
          await turn.ready;
        } finally {
          this.#waiting = undefined;
        }
      }
      try {
        return await start(turn);
      } finally {
        if (![...this.#held].some((held) => held.turn === turn)) {
          const abandoned = this.#abandoned;
          this.#abandoned = undefined;
          if (abandoned) abandoned.then(() => turn.release());
          else turn.release();
        }
      }
    });
  }

  async #startConfined(
    request: AuthorizedRequest,
    turn: EngineTurn,
    plan: RelayPlan | undefined,
    connection: OwnedFd | undefined,
  ): Promise<OpenedFiles> {
    const { caller, standing, confined } = this.#judge;
    if (!caller || !confined || standing.kind !== 'confined')
      throw new Error('The caller is not a confined one');
    const { scope } = request;
    const home: EngineHome = scope
      ? { with: (pid) => this.#scope(scope, pid) }
      : { before: () => EngineCgroup.below() };
    const { engine, cgroup, files } = await startEngineAs(
      this.#context.confined,
      caller,
      standing.traits,
      plan,
      request.noCapability === true,
      connection,
      home,
      this.#heard(),
      (gone) => {
        this.#abandoned = gone;
      },
    );
    if (!request.terminal) engine.refuseDescriptors();
    this.#hold(
      engine,
      turn,
      cgroup,
      request,
      knownBy(confined, { pid: engine.pid, pidfd: engine.fds.pidfd }),
    );
    return files;
  }

  #scope(kind: ScopeKind, pid: number): Promise<EngineCgroup> {
    const caller = this.#judge.caller!;
    const what = kind === 'restore' ? 'Restored by CRIU' : 'CRIU page server';
    const description = `${what} for process ${caller.identity.pid} of uid ${caller.identity.uid}`;
    const { standing } = this.#judge;
    const mayHold =
      standing.kind !== 'confined' || (standing.traits.permitted & bitOf('CHECKPOINT_RESTORE')) !== 0n;
    // One lane for each user, and root's own: what one of them holds up holds up nobody else.
    return EngineCgroup.scope(kind, mayHold, sliceOfCaller(caller), description, pid, caller.identity.uid);
  }

  async #starts<T>(start: () => Promise<T>): Promise<T> {
    this.#starting += 1;
    try {
      return await start();
    } finally {
      this.#starting -= 1;
      this.#left();
    }
  }

  #hold(
    engine: Engine,
    turn: EngineTurn,
    cgroup: EngineCgroup | undefined,
    request: AuthorizedRequest,
    confined: ConfinedIdentity | undefined,
  ): Held {
    this.#serials += 1;
    const stays = request.scope !== undefined;
    const held: Held = { engine, serial: this.#serials, turn, cgroup, stays, confined };
    this.#latest = held;
    this.#held.add(held);
    return held;
  }

  /** The new one is in the turn of the old one. */
  #startAgain(old: Held, request: AuthorizedRequest): Promise<void> {
    return this.#starts(async () => {
      const { turn } = old;
      old.ahead = undefined;
      this.#latest = undefined;
      try {
        const umask = umaskFor(request.type);
        const engine = startRelayedEngine(this.#context.engine, umask, [], this.#heard());
        this.#hold(engine, turn!, undefined, request, undefined);
        old.turn = undefined;
      } finally {
        // What it said last may wait for room with its caller, and is taken before its end is heard of.
        old.engine.resume();
        // Without a new one.
        if (!this.#held.has(old)) old.turn?.release();
      }
      await this.house(request);
    });
  }

  #heard(): ConfinedEngineEvents {
    const isLatest = (engine: Engine): boolean => engine === this.#latest?.engine;
    return {
      onMessage: (packet, engine) => {
        if (isLatest(engine)) {
          const latest = this.#latest!;
          latest.ahead = undefined;
          // Each message of an engine that restores brings its move nearer.
          if (latest.confined && latest.stays) EngineCgroup.expectMove();
          this.#events.onMessage(packet, latest.confined !== undefined);
        } else {
          for (const fd of packet.fds) fd.close();
          engine.resume();
        }
      },
      onHangup: (engine) => {
        if (!isLatest(engine)) return;
        const latest = this.#latest!;
        const { ahead } = latest;
        if (!ahead) this.#events.onHangup();
        else if (ahead.sent && engine.leftUnread) this.#events.onUnread();
        else if (ahead.sent) {
          latest.ahead = undefined;
          this.#events.onHangup();
        }
      },
      expectsTerminal: (message) => this.#events.expectsTerminal(message),
      onLie: (reason, engine) => {
        if (isLatest(engine)) this.#events.onLie(`The engine ${reason}`);
      },
      onEnd: (exit, engine) => {
        const ahead = isLatest(engine) ? this.#latest?.ahead : undefined;
        // It is replaced when there is something to send.
        if (ahead) ahead.exit = exit;
        // Its owner may still end what it left behind.
        else if (isLatest(engine)) this.#events.onEnd(exit);
        for (const held of this.#held) if (held.engine === engine) this.#release(held);
        this.#left();
      },
    };
  }

  #release(held: Held): void {
    this.#held.delete(held);
    // Another one may be needed in its place, and is in the same turn then.
    if (!held.ahead) held.turn?.release();
    if (held.confined) this.#context.kerndat.refresh();
    // Beside the engine itself nothing was ever moved there, and what it has made there is nothing that may stay.
    held.apart?.kill();
    // What an engine leaves behind that may not stay was never verified; what may stay is frozen until it was looked at once more.
    if (!held.stays) {
      held.cgroup?.kill();
      held.apart?.remove();
    }
    this.sweep(held.confined);
    held.cgroup?.remove();
  }

  #left(): void {
    if (!this.busy) this.#events.onAllGone();
  }
}

/** Undefined for a privileged one, and for one that has ended. */
function engineCgroupOf(pid: number): string | undefined {
  try {
    const path = parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1'));
    return isEngineCgroup(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

function livesIn(cgroup: EngineCgroup, pid: number): boolean {
  try {
    return parseCgroup(readFileSync(`/proc/${pid}/cgroup`, 'latin1')) === cgroup.path;
  } catch {
    // It has ended.
    return false;
  }
}
