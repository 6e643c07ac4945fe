/**
 * The engines of one session: the current engine, which has the request, and earlier engines that have yet to exit. This class
 * owns each engine until its process is gone and its cgroup is removed, or is left to a restored tree.
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
import type { CallerIdentity, ThreadState } from '../../proc/caller.ts';
import type { UserKey } from '../../proc/connection-user.ts';
import { parseCgroup } from '../../proc/process-tree.ts';
import {
  type ConfinedCaller,
  type EngineFor,
  identityFor,
  type KnownCaller,
} from '../caller/known-caller.ts';
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
  /** The kerndat cache of confined engines. */
  readonly kerndat: Kerndat;
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

/** Events of the current engine. An engine that was set aside causes only `onAllGone`. */
export interface SessionEnginesEvents {
  /** `confined`: the engine runs as its caller, who can make it send anything. */
  onMessage(packet: Packet, confined: boolean): void;
  onHangup(): void;
  /** @returns true if this message must carry the master of a terminal. */
  expectsTerminal(message: Buffer): boolean;
  /** A confined engine has broken the protocol; the reason is a sentence. */
  onLie(reason: string): void;
  onEnd(exit: EngineExit): void;
  /** The current engine has gone without reading its request: {@link SessionEngines.replace} starts another. */
  onUnread(): void;
  /** The last engine has gone. */
  onAllGone(): void;
}

/**
 * State of an engine that was started before its request arrived: it may exit without reading the request. Then nothing was done,
 * and another engine can take the request.
 */
interface Ahead {
  /** The request was sent to the engine. */
  sent?: true;
  /** The engine's exit before it was sent anything. */
  exit?: EngineExit;
}

interface Held {
  readonly engine: Engine;
  /** The number of the engine within its session, from 1. */
  readonly serial: number;
  /** Undefined after another engine has taken over the turn. */
  turn: EngineTurn | undefined;
  /** Undefined for a privileged engine, until it restores. */
  cgroup: EngineCgroup | undefined;
  /** The engine's cgroup after its restored tree was verified, so that the tree alone stays frozen. */
  apart?: EngineCgroup;
  /** True if processes may stay after the engine: a restored tree, a page server. */
  stays: boolean;
  /** The identity that the engine took from its confined caller. It stays true if the caller changes or exits. */
  readonly confined: ConfinedIdentity | undefined;
  /** Present until the engine has spoken, or is to exit. */
  ahead?: Ahead | undefined;
}

export class SessionEngines {
  readonly #context: EnginesContext;
  readonly #user: UserKey;
  readonly #events: SessionEnginesEvents;
  readonly #held = new Set<Held>();
  #latest: Held | undefined;
  /** The number of engines so far. */
  #serials = 0;
  /** Starts in flight: a launcher at work, a scope being made. */
  #starting = 0;
  /** Resolves when the launcher that has just failed has gone. It keeps its turn until then. */
  #abandoned: Promise<void> | undefined;
  /** The turn that the request is queued for. */
  #waiting: EngineTurn | undefined;

  /** @param user the user whose limit the engines count against. */
  constructor(context: EnginesContext, user: UserKey, events: SessionEnginesEvents) {
    this.#context = context;
    this.#user = user;
    this.#events = events;
  }

  /** True while an engine of this session exists or is being started. */
  get busy(): boolean {
    return this.#held.size > 0 || this.#starting > 0;
  }

  /** True while the current engine runs: its exit event has yet to come. */
  get running(): boolean {
    return this.#latest !== undefined && this.#held.has(this.#latest);
  }

  /**
   * Starts the engine of a relayed request when its turn comes, and sets the previous engine aside.
   * @param engine the engine that the request gets.
   * @param plan a confined engine opens the files of the plan with its caller's rights.
   * @param engineFds copies that a privileged engine gets under the numbers of the request.
   * @param bytes the length of the request.
   * @returns the descriptor numbers of the files that the engine opened.
   * @throws NotStartedError, or an error of the start
   */
  relay(
    request: AuthorizedRequest,
    engine: EngineFor,
    plan: RelayPlan,
    engineFds: readonly EngineFd[],
    bytes: number,
  ): Promise<OpenedFiles> {
    return this.#inTurn(request, bytes, async (turn) => {
      if (engine.is === 'confined') return this.#startConfined(request, engine.as, turn, plan, undefined);
      // An engine can be given descriptors only at its start, so a waiting engine of the pool will not do for those.
      const umask = umaskFor(request.type);
      const waiting = engineFds.length === 0 ? this.#context.pool.take(umask, this.#heard()) : undefined;
      const started = waiting ?? startRelayedEngine(this.#context.engine, umask, engineFds, this.#heard());
      const held = this.#hold(started, turn, undefined, request, undefined);
      if (waiting) held.ahead = {};
      await this.moveToScope(request, engine);
      return {};
    });
  }

  /**
   * Gives the next request to the current engine, which waits since the previous one. If it has left, {@link replace} follows.
   */
  async reuse(request: AuthorizedRequest, engine: EngineFor): Promise<void> {
    if (this.#latest) this.#latest.ahead = {};
    await this.moveToScope(request, engine);
  }

  /** Starts an engine on the caller's own connection, which is copied, and sets the previous engine aside. */
  async handOver(
    request: AuthorizedRequest,
    engine: EngineFor,
    connection: OwnedFd,
    bytes: number,
  ): Promise<void> {
    await this.#inTurn(request, bytes, async (turn) => {
      if (engine.is === 'confined') {
        await this.#startConfined(request, engine.as, turn, undefined, connection);
      } else {
        const started = startHandedOverEngine(this.#context.engine, connection, this.#heard());
        this.#hold(started, turn, undefined, request, undefined);
      }
    });
  }

  /** Goes on with an engine of an earlier start. Takes over its descriptors. */
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
    // The engine runs already, so it counts even beyond the limits.
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
   * Goes on with an engine that was found in /proc, because the store has no descriptors of it. Its stderr is lost.
   * @param confined the engine's identity; undefined for a privileged engine.
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
   * Kills a launcher, or an engine that has not read its request: it has done nothing. Resolves when it has gone.
   * @param becomes the identity that it has taken on, or was about to; undefined for a privileged engine.
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

  /** The state of the current engine for the next start; its descriptors go to the store. */
  get snapshot(): Pick<SessionSnapshot, 'engine' | 'engineInode'> {
    const { snapshot, inode } = this.#describe() ?? {};
    return { ...(snapshot ? { engine: snapshot } : {}), ...(inode ? { engineInode: inode } : {}) };
  }

  /** Passes the descriptors of the current engine, if there is one, to `keep`, which copies them. */
  copyFdsFor(keep: (serial: number, fds: readonly OwnedFd[]) => void): void {
    if (!this.#latest || !this.running) return;
    const { engine, serial } = this.#latest;
    const { pidfd, stderr, socket } = engine.fds;
    const copy = socket?.copy();
    keep(serial, [pidfd, stderr, ...(copy ? [copy] : [])]);
    copy?.close();
  }

  #describe(): { readonly snapshot: EngineSnapshot; readonly inode?: string } | undefined {
    // An engine that has gone counts while its tree is frozen.
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

  /** Cancels the wait for a turn. */
  stopWaiting(errno: number, reason: string): void {
    this.#waiting?.cancel(new NotStartedError(errno, reason));
  }

  /**
   * Moves a privileged engine into a scope before it gets its request, because the restored tree or the page server outlives this
   * session. Confined engines are started in theirs.
   */
  async moveToScope(request: AuthorizedRequest, engine: EngineFor): Promise<void> {
    const held = this.#latest;
    const { scope } = request;
    if (held && engine.is === 'privileged' && scope !== undefined) {
      held.stays = true;
      try {
        held.cgroup = await this.#starts(() => scopeFor(scope, engine.by, held.engine.pid));
      } catch (error) {
        if (!held.ahead || held.engine.waits) throw error;
        await this.#startAgain(held, request, engine);
      }
    }
  }

  /** True if the current engine, which was sent at most one message, has read none; undefined if that cannot be known. */
  get waitsForRequest(): boolean | undefined {
    return this.running ? this.#latest!.engine.sleepsReading : false;
  }

  /** The pid of the current engine, for records. */
  get pid(): number | undefined {
    return this.#latest?.engine.pid;
  }

  /**
   * The scope of a restored tree; undefined if it lives elsewhere. CRIU moves a tree that root restores to its former cgroup, if
   * that exists (move_in_cgroup in CRIU's cgroup.c). A confined tree was verified to be in its scope.
   */
  scopeOf(restored: number): string | undefined {
    const { cgroup } = this.#latest ?? {};
    return cgroup && livesIn(cgroup, restored) ? cgroup.scope : undefined;
  }

  /**
   * The pid that the engine claims to have restored. A confined engine could name any process: its claim counts only in its
   * scope.
   */
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
    // In a microtask, because the session saves its state only after this call.
    if (!held.engine.send(data) && held.ahead) queueMicrotask(() => this.#events.onUnread());
  }

  /** Replaces the current engine, which has not read its request, in its turn. @throws an error of the start */
  async replace(request: AuthorizedRequest, engine: EngineFor): Promise<void> {
    const held = this.#latest;
    if (!held) return;
    try {
      await this.#startAgain(held, request, engine);
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

  /**
   * Dismisses an engine that has done nothing and ignores its events. A confined engine is killed: its caller could make it act.
   */
  abandon(): void {
    if (this.#latest?.confined) this.killTree();
    this.dismiss();
    this.setAside();
  }

  resume(): void {
    this.#latest?.engine.resume();
  }

  /**
   * Kills the engine, every process in its cgroup, and the processes that its caller had moved out of there: systemd moves the
   * processes of a user to that user's own units when asked (AttachProcessesToUnit).
   */
  killTree(): void {
    const held = this.#latest;
    if (!held?.cgroup) return;
    held.stays = false;
    // Kill the engine by its pidfd, too: it may have been moved elsewhere. Tasks that it traces end with it (PTRACE_O_EXITKILL).
    held.engine.kill();
    held.cgroup.kill();
    held.apart?.kill();
    const { confined, cgroup, apart } = held;
    if (!confined) return;
    const killed = [cgroup.path, ...(apart ? [apart.path] : [])];
    // endRestored() reports its failures itself.
    this.#starts(() => endRestored(confined, killed)).catch(() => {});
    this.sweep(confined);
  }

  /** Kills the current engine alone, after its final reply. */
  killEngine(): void {
    this.#latest?.engine.kill();
  }

  /**
   * Freezes and verifies the restored tree, then lets the engine alone go on: the tree stays frozen.
   * @param caller undefined if the caller cannot be identified: then the tree must not run.
   * @returns the reason why the tree must not run; undefined if it may run.
   */
  async verify(caller: CallerIdentity | undefined, surroundings: ThreadState): Promise<string | undefined> {
    const held = this.#latest;
    const restorer = this.#restorer(caller, surroundings);
    if (!held?.cgroup || !restorer) return 'is not where it should be';
    // If an earlier start was killed here, systemd has removed this cgroup, provided it was empty.
    held.apart = EngineCgroup.apartFrom(held.cgroup);
    return verifyRestored(held.cgroup, held.apart, held.engine.pid, restorer);
  }

  /**
   * Verifies the tree again and lets it run. The engine must have gone.
   * @returns the reason why the tree must not run; undefined if it runs.
   */
  async letRun(caller: CallerIdentity | undefined, surroundings: ThreadState): Promise<string | undefined> {
    const held = this.#latest;
    const restorer = this.#restorer(caller, surroundings);
    if (!held?.cgroup || !held.apart || !restorer) return 'is not where it should be';
    if (!held.engine.gone) return 'was to run beside its engine, which is still there';
    const reason = await letRestoredRun(held.cgroup, restorer);
    held.apart.remove();
    delete held.apart;
    return reason;
  }

  #restorer(caller: CallerIdentity | undefined, surroundings: ThreadState): Restorer | undefined {
    const traits = this.#latest?.confined?.traits;
    if (!caller || !traits) return undefined;
    const { uid, gid, groups } = caller;
    return { uid, gid, groups, traits, surroundings };
  }

  /** Kills descendants of a confined engine that were moved out of its cgroup; does nothing for a privileged engine. */
  sweep(confined: ConfinedIdentity | undefined): void {
    if (!confined) return;
    this.#starts(() => endEscaped(confined)).catch(() => {
      // endEscaped() reports its failures itself.
    });
  }

  /** From here on the events of the current engine are ignored. Call this when its last message has been handled. */
  setAside(): void {
    const held = this.#latest;
    this.#latest = undefined;
    held?.engine.resume();
  }

  /** Waits for a turn, because the number of engines is limited, then starts the engine. */
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
    caller: ConfinedCaller,
    turn: EngineTurn,
    plan: RelayPlan | undefined,
    connection: OwnedFd | undefined,
  ): Promise<OpenedFiles> {
    const confined = identityFor(caller);
    const { scope } = request;
    const home: EngineHome = scope
      ? { with: (pid) => scopeFor(scope, caller, pid) }
      : { before: () => EngineCgroup.below() };
    const { engine, cgroup, files } = await startEngineAs(
      this.#context.confined,
      caller,
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

  /** Starts another engine in the turn of the old one. */
  #startAgain(old: Held, request: AuthorizedRequest, engine: EngineFor): Promise<void> {
    return this.#starts(async () => {
      const { turn } = old;
      old.ahead = undefined;
      this.#latest = undefined;
      try {
        const umask = umaskFor(request.type);
        const started = startRelayedEngine(this.#context.engine, umask, [], this.#heard());
        this.#hold(started, turn!, undefined, request, undefined);
        old.turn = undefined;
      } finally {
        // The last message of the old engine may still be queued behind a full caller: handle it before the exit event.
        old.engine.resume();
        // The start failed after the old engine had exited: release the turn here.
        if (!this.#held.has(old)) old.turn?.release();
      }
      await this.moveToScope(request, engine);
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
        // The engine exited before it had a request: send() reports that, and the engine is replaced.
        if (ahead) ahead.exit = exit;
        // Before the release, so that the session can still kill the tree that the engine left.
        else if (isLatest(engine)) this.#events.onEnd(exit);
        for (const held of this.#held) if (held.engine === engine) this.#release(held);
        this.#left();
      },
    };
  }

  #release(held: Held): void {
    this.#held.delete(held);
    // An engine that exited ahead of its request keeps its turn for its replacement.
    if (!held.ahead) held.turn?.release();
    if (held.confined) this.#context.kerndat.refresh();
    // Only the engine itself was moved apart, so that processes here are its children, which must not stay.
    held.apart?.kill();
    // Leftovers that must not stay were never verified. A tree that may stay is frozen until it is verified again.
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

/** Moves a process into a scope in its caller's slice. */
async function scopeFor(
  kind: ScopeKind,
  { caller, standing }: KnownCaller,
  pid: number,
): Promise<EngineCgroup> {
  const what = kind === 'restore' ? 'Restored by CRIU' : 'CRIU page server';
  const description = `${what} for process ${caller.identity.pid} of uid ${caller.identity.uid}`;
  const mayHold =
    standing.kind !== 'confined' || (standing.traits.permitted & bitOf('CHECKPOINT_RESTORE')) !== 0n;
  // One lane for each user, root included: a user can delay only the same user's scopes.
  return EngineCgroup.scope(kind, mayHold, sliceOfCaller(caller), description, pid, caller.identity.uid);
}

/** Undefined for a privileged engine, and for a process that has ended. */
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
    // The process has ended.
    return false;
  }
}
