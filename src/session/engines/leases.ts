/**
 * The leases of one session: the current lease, which has the request, and earlier leases whose engines have yet to exit.
 *
 * The events of a lease that was set aside are ignored, except its end, after which remains of a confined engine are swept.
 */
import { constants as os } from 'node:os';
import type { OpenedFiles } from '../../engine/confined.ts';
import type { ConfinedIdentity, MadeTime } from '../../engine/confined-identity.ts';
import type { Engine, EngineExit } from '../../engine/engine.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import type { EngineTurn } from '../../engine/engine-queue.ts';
import type { Kerndat } from '../../engine/kerndat.ts';
import { ownCgroup } from '../../engine/our-cgroups.ts';
import type { OwnedFd, Packet } from '../../native/binding.ts';
import type { AuthorizedRequest, RelayPlan } from '../../policy/authorize.ts';
import type { Consent } from '../../policy/yama.ts';
import type { UserKey } from '../../proc/connection-user.ts';
import type { EngineSnapshot, SessionSnapshot } from '../keep/session-file.ts';
import type { StoredEngine } from '../keep/stored-sessions.ts';
import { endEscaped, endRestored } from '../trees/sweep.ts';
import { EngineLease, type LeaseOwner } from './lease.ts';
import type { Order, RestoringCaller } from './lease-state.ts';
import type { Loan } from './loan.ts';
import {
  moveToScope,
  NotStartedError,
  nameAgain,
  resumeEngine,
  type StartContext,
  startFresh,
  startHandedOver,
  startRelayed,
  waitForTurn,
} from './start.ts';

export interface EnginesContext extends StartContext {
  /** The kerndat cache of confined engines. */
  readonly kerndat: Kerndat;
  /** True if the engine, which was sent at most one message, has read none; undefined if that cannot be known. */
  readonly sleepsReading: (engine: Engine) => boolean | undefined;
}

/** Events of the current engine. An engine that was set aside causes only `onAllGone`. */
export interface EngineLeasesEvents {
  /** `confined`: the engine runs as its caller, who can make it send anything. */
  onMessage(packet: Packet, confined: boolean): void;
  onHangup(): void;
  /** @returns true if this message must carry the master of a terminal. */
  expectsTerminal(message: Buffer): boolean;
  /** A confined engine has broken the protocol; the reason is a sentence. */
  onLie(reason: string): void;
  onEnd(exit: EngineExit): void;
  /** The request has no engine, and nothing was done about it: {@link EngineLeases.replace} starts another engine. */
  onUnread(): void;
  /** The last engine has gone. */
  onAllGone(): void;
}

export class EngineLeases {
  readonly #context: EnginesContext;
  readonly #user: UserKey;
  readonly #events: EngineLeasesEvents;
  readonly #owner: LeaseOwner;
  /** The leases whose engine is there, or is being started. */
  readonly #leases = new Set<EngineLease>();
  #current: EngineLease | undefined;
  /** The number of leases so far. */
  #serials = 0;
  /** Starts and sweeps in flight. */
  #inFlight = 0;

  /** @param user the user whose limit the engines count against. */
  constructor(context: EnginesContext, user: UserKey, events: EngineLeasesEvents) {
    this.#context = context;
    this.#user = user;
    this.#events = events;
    this.#owner = {
      onMessage: (packet, lease) => this.#onMessage(packet, lease),
      onHangup: (lease) => {
        if (lease === this.#current) events.onHangup();
      },
      onUnread: (lease) => {
        if (lease === this.#current) events.onUnread();
      },
      expectsTerminal: (message) => events.expectsTerminal(message),
      onLie: (reason, lease) => {
        if (lease === this.#current) events.onLie(reason);
      },
      onEnd: (exit, lease) => {
        if (lease === this.#current) events.onEnd(exit);
      },
      onGone: (lease) => this.#onGone(lease),
    };
  }

  /** True while an engine of this session exists or is being started, or remains of an engine are being looked for. */
  get busy(): boolean {
    return this.#leases.size > 0 || this.#inFlight > 0;
  }

  /** True while the current engine runs: its exit event has yet to come. */
  get running(): boolean {
    return this.#current?.runs ?? false;
  }

  // ---- starts

  /**
   * Starts the engine of a relayed request when its turn comes, and sets the previous engine aside.
   * @param loan taken over.
   * @param bytes the length of the request.
   * @returns the descriptor numbers of the files that the engine opened.
   * @throws NotStartedError, or an error of the start
   */
  relay(order: Order, plan: RelayPlan, loan: Loan, bytes: number): Promise<OpenedFiles> {
    return this.#start(order, loan, async (lease) => {
      await waitForTurn(this.#context, this.#user, lease, order, bytes);
      const files = await startRelayed(this.#context, lease, order, plan, loan.engineFds);
      await this.#moveToScope(lease, order);
      return files;
    });
  }

  /**
   * Gives the next request to the current engine, which waits since the previous one. If it has left, {@link replace} follows.
   * @param loan taken over.
   */
  async reuse(order: Order, loan: Loan): Promise<void> {
    const lease = this.#current;
    if (!lease) {
      loan.close();
      return;
    }
    lease.again(order, loan);
    await this.#during(async () => {
      await nameAgain(this.#context, lease, order);
      await this.#moveToScope(lease, order);
    });
  }

  /** Starts an engine on the caller's own connection, which is copied, and sets the previous engine aside. */
  async handOver(order: Order, connection: OwnedFd, bytes: number): Promise<void> {
    await this.#start(order, undefined, async (lease) => {
      await waitForTurn(this.#context, this.#user, lease, order, bytes);
      await startHandedOver(this.#context, lease, order, connection);
    });
  }

  /** Replaces the current engine, which has not read its request, in its turn. @throws an error of the start */
  async replace({ name }: AuthorizedRequest): Promise<void> {
    const lease = this.#current;
    if (!lease?.order)
      throw new NotStartedError(
        os.errno.ESRCH,
        `${name}: its engine was lost before it had the request: ask again`,
      );
    const { order } = lease;
    try {
      await this.#during(() => this.#startAgain(lease, order));
    } catch (error) {
      this.dismiss();
      throw error;
    }
  }

  /** Cancels the wait for a turn. */
  stopWaiting(errno: number, reason: string): void {
    this.#current?.stopWaiting(new NotStartedError(errno, reason));
  }

  /** Goes on with an engine of an earlier start. Takes over its descriptors. */
  adopt(stored: StoredEngine, snapshot: EngineSnapshot): void {
    const lease = new EngineLease(snapshot.serial, this.#owner);
    this.#serials = snapshot.serial;
    resumeEngine(this.#context, this.#user, lease, stored, snapshot);
    this.#add(lease);
  }

  // ---- the current engine

  /** Sends the request. If the engine can no longer get it, `onUnread` follows. */
  offer(request: Uint8Array): void {
    if (this.#current) this.#current.offer(request);
    else queueMicrotask(() => this.#events.onUnread());
  }

  /** Sends the answer to a notification. */
  send(answer: Uint8Array): void {
    this.#current?.send(answer);
  }

  resume(): void {
    this.#current?.resume();
  }

  dismiss(): void {
    this.#current?.dismiss();
  }

  /**
   * Dismisses an engine that has done nothing and ignores its events. A confined engine is killed: its caller could make it act.
   */
  abandon(): void {
    if (this.#current?.confined) this.killTree();
    this.dismiss();
    this.setAside();
  }

  /** From here on the events of the current engine are ignored. Call this when its last message has been handled. */
  setAside(): void {
    const lease = this.#current;
    this.#current = undefined;
    lease?.setAside();
  }

  /** Kills the current engine alone, after its final reply. */
  killEngine(): void {
    this.#current?.kill();
  }

  /**
   * Kills the engine, every process in its cgroup, and the processes that its caller had moved out of there: systemd moves the
   * processes of a user to that user's own units when asked (AttachProcessesToUnit).
   */
  killTree(): void {
    const killed = this.#current?.killTree();
    const confined = this.#current?.confined;
    if (!killed || !confined) return;
    // endRestored() reports its failures itself.
    this.#during(() => endRestored(confined, killed)).catch(() => {});
    this.sweep(confined);
  }

  /** Kills descendants of a confined engine that were moved out of its cgroup; does nothing for a privileged engine. */
  sweep(confined: ConfinedIdentity | undefined): void {
    if (!confined) return;
    this.#during(() => endEscaped(confined)).catch(() => {
      // endEscaped() reports its failures itself.
    });
  }

  /**
   * Freezes and verifies the restored tree, then lets the engine alone go on: the tree stays frozen.
   * @param restorer undefined if the caller cannot be identified.
   * @returns the reason why the tree must not run; undefined if it may run.
   */
  async verify(restorer: RestoringCaller | undefined): Promise<string | undefined> {
    return restorer && this.#current ? this.#current.verify(restorer) : 'is not where it should be';
  }

  /**
   * Verifies the tree again and lets it run. The engine must have gone.
   * @returns the reason why the tree must not run; undefined if it runs.
   */
  async letRun(restorer: RestoringCaller | undefined): Promise<string | undefined> {
    return restorer && this.#current ? this.#current.letRun(restorer) : 'is not where it should be';
  }

  /** True if the current engine, which was sent at most one message, has read none; undefined if that cannot be known. */
  get waitsForRequest(): boolean | undefined {
    return this.#current?.runs ? this.#current.looked(this.#context.sleepsReading) : false;
  }

  // ---- for records

  /** The pid of the current engine. */
  get pid(): number | undefined {
    return this.#current?.pid;
  }

  /** The cgroup of the current engine; one of root's works in this service's own, unless it restores. */
  get cgroup(): string | undefined {
    return this.#current?.pid === undefined ? undefined : (this.#current.cgroup ?? ownCgroup());
  }

  /** Whose clocks a restored tree has. */
  get clocks(): MadeTime['clocks'] | undefined {
    return this.#current?.confined?.time?.clocks;
  }

  /** Why the target of the current request lets its engine trace it, where that was asked. */
  get consent(): Consent | undefined {
    return this.#current?.confined?.consent;
  }

  get lastWords(): readonly string[] {
    return this.#current?.lastWords ?? [];
  }

  /** The last lines of an engine that has failed without a reason, once it has exited. */
  async lateWords(): Promise<readonly string[]> {
    return this.#current?.lateWords() ?? [];
  }

  /** The last error lines of CRIU's log of the current request, if the service may read it. */
  logLines(): Promise<readonly string[]> | undefined {
    return this.#current?.logLines();
  }

  /** The images directory of the current request, while its loan lasts. */
  get imagesDir(): string | undefined {
    return this.#current?.imagesDir;
  }

  /** The directory where CRIU writes its log, if the service holds a copy of it. */
  get logDirectory(): string | undefined {
    return this.#current?.logDirectory;
  }

  /** Ends the loan of the current request. @returns the last error lines of CRIU's log, if `failed` and there was a loan. */
  endLoan(failed: boolean): Promise<readonly string[]> | undefined {
    return this.#current?.endLoan(failed);
  }

  /**
   * The scope of a restored tree; undefined if it lives elsewhere. CRIU moves a tree that root restores to its former cgroup, if
   * that exists (move_in_cgroup in CRIU's cgroup.c). A confined tree was verified to be in its scope.
   */
  scopeOf(restored: number): string | undefined {
    return this.#current?.scopeOf(restored);
  }

  /**
   * The pid that the engine claims to have restored. A confined engine could name any process: its claim counts only in its
   * scope.
   */
  restored(pid: number | null | undefined): number | undefined {
    const isConfined = this.#current?.confined !== undefined;
    return pid == null || (isConfined && !this.#current?.isInCgroup(pid)) ? undefined : pid;
  }

  // ---- for the next start of the service

  /** The state of the current engine; its descriptors go to the store. */
  get snapshot(): Pick<SessionSnapshot, 'engine' | 'engineInode'> {
    return this.#current?.snapshot ?? {};
  }

  /** Passes the descriptors of the current engine, if there is one, to `keep`, which copies them. */
  copyFdsFor(keep: (serial: number, fds: readonly OwnedFd[]) => void): void {
    this.#current?.copyFdsFor(keep);
  }

  // ----

  #start<T>(order: Order, loan: Loan | undefined, start: (lease: EngineLease) => Promise<T>): Promise<T> {
    return this.#during(async () => {
      const lease = this.#open(order, loan);
      try {
        return await start(lease);
      } catch (error) {
        this.#failed(lease);
        throw error;
      }
    });
  }

  /** Starts another engine in the turn of an engine that has not begun. */
  async #startAgain(old: EngineLease, order: Order): Promise<void> {
    const { turn, loan } = old.giveWay();
    const lease = this.#open(order, loan, turn);
    try {
      startFresh(this.#context, lease, order.request);
    } catch (error) {
      this.#failed(lease);
      throw error;
    }
    await this.#moveToScope(lease, order);
  }

  async #moveToScope(lease: EngineLease, order: Order): Promise<void> {
    try {
      await moveToScope(lease, order);
    } catch (error) {
      if (!lease.isLost) throw error;
      await this.#startAgain(lease, order);
    }
  }

  /** Makes a lease the current one. */
  #open(order: Order, loan: Loan | undefined, turn?: EngineTurn): EngineLease {
    // The last message of the old engine may still be queued behind a full caller: this lets it be handled before the exit event.
    this.setAside();
    this.#serials += 1;
    const lease = new EngineLease(this.#serials, this.#owner, order, loan, turn);
    this.#add(lease);
    return lease;
  }

  #add(lease: EngineLease): void {
    this.#current = lease;
    this.#leases.add(lease);
  }

  #failed(lease: EngineLease): void {
    lease.failed();
    if (!lease.runs) this.#leases.delete(lease);
  }

  async #during<T>(work: () => Promise<T>): Promise<T> {
    this.#inFlight += 1;
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      this.#left();
    }
  }

  #onMessage(packet: Packet, lease: EngineLease): void {
    if (lease === this.#current) {
      // Each message of an engine that restores brings its move nearer.
      if (lease.restores) EngineCgroup.expectMove();
      this.#events.onMessage(packet, lease.confined !== undefined);
    } else {
      for (const fd of packet.fds) fd.close();
      lease.resume();
    }
  }

  #onGone(lease: EngineLease): void {
    this.#leases.delete(lease);
    if (lease.confined) this.#context.kerndat.refresh();
    this.sweep(lease.confined);
    this.#left();
  }

  #left(): void {
    if (!this.busy) this.#events.onAllGone();
  }
}
