/**
 * One engine in one session, from the wait for its turn until nothing of it is left. A lease owns the engine, its turn, its
 * cgroup, the identity that it took from its caller, and the loan of its request.
 *
 *     starting -> ready -> offered -> speaking -> dismissed -> gone
 *
 * An engine that was there before its request (a waiting engine of the pool, an engine between two requests) begins in `ready`; an
 * engine that was started for its request begins in `speaking`.
 */
import type { ConfinedIdentity } from '../../engine/confined-identity.ts';
import type { ConfinedEngineEvents, Engine, EngineExit } from '../../engine/engine.ts';
import { EngineCgroup } from '../../engine/engine-cgroup.ts';
import type { EngineTurn } from '../../engine/engine-queue.ts';
import type { NamedEngine } from '../../engine/grant.ts';
import type { OwnedFd, Packet } from '../../native/binding.ts';
import { inTimeNamespace } from '../../policy/restored.ts';
import type { Consent } from '../../policy/yama.ts';
import type { EngineSnapshot } from '../keep/session-file.ts';
import { letRestoredRun, verifyRestored } from '../trees/verify-restored.ts';
import { livesIn } from './cgroup-of.ts';
import type { LeaseState, Order, RestoringCaller, Started } from './lease-state.ts';
import type { Loan } from './loan.ts';

/** The owner of leases. It ignores the events of a lease that was set aside, except `onGone`. */
export interface LeaseOwner {
  onMessage(packet: Packet, lease: EngineLease): void;
  onHangup(lease: EngineLease): void;
  /** The engine has gone, or goes, without having read its request. */
  onUnread(lease: EngineLease): void;
  /** @returns true if this message must carry the master of a terminal. */
  expectsTerminal(message: Buffer): boolean;
  onLie(reason: string, lease: EngineLease): void;
  /** The engine has exited. Its cgroup is still there, so that a tree can be killed. */
  onEnd(exit: EngineExit, lease: EngineLease): void;
  /** The engine has exited, and everything but the loan is released. */
  onGone(lease: EngineLease): void;
}

export class EngineLease {
  /** The number of the engine within its session, from 1. */
  readonly serial: number;
  /** The events of the engine, to be given to it at its start. */
  readonly heard: ConfinedEngineEvents;
  readonly #owner: LeaseOwner;
  #state: LeaseState = { at: 'starting' };
  /** Undefined for an engine of an earlier start. */
  #order: Order | undefined;
  #loan: Loan | undefined;
  /** Undefined before the request is queued, and after another lease has taken over the turn. */
  #turn: EngineTurn | undefined;
  #engine: Engine | undefined;
  /** Undefined for a privileged engine, until it restores. */
  #cgroup: EngineCgroup | undefined;
  /** The engine's cgroup after its restored tree was verified, so that the tree alone stays frozen. */
  #apart: EngineCgroup | undefined;
  /** True if processes may stay after the engine: a restored tree, a page server. */
  #stays: boolean;
  /** The identity that the engine took from its confined caller. It stays true if the caller changes or exits. */
  #confined: ConfinedIdentity | undefined;
  /** Resolves when the launcher that has just failed has gone. It keeps its turn until then. */
  #abandoned: Promise<void> | undefined;

  constructor(serial: number, owner: LeaseOwner, order?: Order, loan?: Loan, turn?: EngineTurn) {
    this.serial = serial;
    this.#owner = owner;
    this.#order = order;
    this.#loan = loan;
    this.#turn = turn;
    this.#stays = order?.request.scope !== undefined;
    this.heard = {
      onMessage: (packet) => this.#onMessage(packet),
      onHangup: () => this.#onHangup(),
      expectsTerminal: (message) => owner.expectsTerminal(message),
      onLie: (reason) => owner.onLie(`The engine ${reason}`, this),
      onEnd: (exit) => this.#onEnd(exit),
    };
  }

  // ---- its start

  /** Takes over the turn, which the request may still have to wait for. */
  queued(turn: EngineTurn): void {
    this.#turn = turn;
  }

  /** Cancels the wait for the turn; does nothing after the wait. */
  stopWaiting(reason: Error): void {
    this.#turn?.cancel(reason);
  }

  /** A launcher has failed, and has yet to exit. */
  abandoned(gone: Promise<void>): void {
    this.#abandoned = gone;
  }

  /** @param ready the engine was there before its request. */
  started({ engine, cgroup, confined }: Started, ready: boolean): void {
    this.#engine = engine;
    this.#cgroup = cgroup;
    this.#confined = confined;
    this.#state = { at: ready ? 'ready' : 'speaking' };
  }

  /** The start has failed. An engine that was started nevertheless keeps its turn until it exits. */
  failed(): void {
    if (this.#engine) return;
    this.#state = { at: 'gone' };
    const turn = this.#turn;
    if (this.#abandoned) this.#abandoned.then(() => turn?.release());
    else turn?.release();
  }

  /** Goes on with the engine of an earlier start. */
  resumed(started: Started, snapshot: EngineSnapshot): void {
    this.started(started, false);
    this.#stays = snapshot.stays;
    if (snapshot.apart !== undefined) this.#apart = EngineCgroup.again(snapshot.apart, false);
  }

  /** Gives the next request to the engine, which waits since the previous request. */
  again(order: Order, loan: Loan): void {
    this.#order = order;
    this.#loan = loan;
    this.#engine?.turnPage();
    if (this.#state.at !== 'gone') this.#state = { at: 'ready' };
  }

  /** The tree of the request names the engine. An engine that has left is not named: another may take the request. */
  async named(name: (engine: NamedEngine) => Promise<Consent>): Promise<void> {
    if (!this.#engine || !this.#confined) return;
    try {
      const consent = await this.#engine.withPid((pid, isThere) => name({ pid, isThere }));
      this.#confined = { ...this.#confined, consent };
    } catch (error) {
      if (!this.isLost) throw error;
    }
  }

  /** Processes of the request live in this cgroup, and may stay there after the engine. */
  async moveTo(move: (engine: number) => Promise<EngineCgroup>): Promise<void> {
    if (!this.#engine) return;
    this.#stays = true;
    this.#cgroup = await move(this.#engine.pid);
  }

  /** True if another engine can take the request: this engine has not begun, and has hung up. */
  get isLost(): boolean {
    return this.#isUnbegun && !this.#engine?.waits;
  }

  /** Hands the request on to another lease: its turn and its loan. */
  giveWay(): { readonly turn: EngineTurn | undefined; readonly loan: Loan | undefined } {
    const [turn, loan] = [this.#turn, this.#loan];
    this.#turn = undefined;
    this.#loan = undefined;
    this.#leave();
    return { turn, loan };
  }

  // ---- its request

  get order(): Order | undefined {
    return this.#order;
  }

  /** Sends the request. If the engine can no longer get it, `onUnread` follows. */
  offer(request: Uint8Array): void {
    if (this.#state.at === 'ready') this.#state = { at: 'offered' };
    // In a microtask, because the session saves its state only after this call.
    if (this.#engine?.send(request)) return;
    if (this.#isUnbegun || !this.runs) queueMicrotask(() => this.#owner.onUnread(this));
  }

  /** Sends the answer to a notification. */
  send(answer: Uint8Array): void {
    this.#engine?.send(answer);
  }

  /** The delivered message has been handled. */
  resume(): void {
    this.#engine?.resume();
  }

  /** The result of a look at the engine; false without an engine. */
  looked(look: (engine: Engine) => boolean | undefined): boolean | undefined {
    return this.#engine ? look(this.#engine) : false;
  }

  /** Ends the loan of the request with its final record. */
  endLoan(failed: boolean): ReturnType<Loan['end']> {
    const loan = this.#loan;
    this.#loan = undefined;
    return loan?.end(failed);
  }

  /** Undefined without a loan. */
  logLines(): Promise<readonly string[]> | undefined {
    return this.#loan?.logLines();
  }

  get imagesDir(): string | undefined {
    return this.#loan?.imagesDir;
  }

  get logDirectory(): string | undefined {
    return this.#loan?.logDirectory;
  }

  // ---- its engine

  /** True while the process is there: its exit event has yet to come. */
  get runs(): boolean {
    return this.#engine !== undefined && this.#state.at !== 'gone';
  }

  get pid(): number | undefined {
    return this.#engine?.pid;
  }

  get cgroup(): string | undefined {
    return this.#cgroup?.path;
  }

  get lastWords(): readonly string[] {
    return this.#engine?.lastWords ?? [];
  }

  /** As {@link Engine.lateWords}. */
  async lateWords(): Promise<readonly string[]> {
    return this.#engine?.lateWords() ?? [];
  }

  get confined(): ConfinedIdentity | undefined {
    return this.#confined;
  }

  get restores(): boolean {
    return this.#confined !== undefined && this.#stays;
  }

  /** The name of the engine's cgroup, if that is a scope in which this process lives. */
  scopeOf(pid: number): string | undefined {
    return this.#cgroup && livesIn(this.#cgroup, pid) ? this.#cgroup.scope : undefined;
  }

  isInCgroup(pid: number): boolean {
    return this.#cgroup !== undefined && livesIn(this.#cgroup, pid);
  }

  dismiss(): void {
    const exit = this.#state.at === 'gone' ? this.#state.unheard : undefined;
    this.#leave();
    if (exit) this.#owner.onEnd(exit, this);
  }

  /** From here on the session ignores the engine. */
  setAside(): void {
    this.#loan?.close();
    this.#loan = undefined;
    if (this.#isUnbegun) this.#leave();
    this.resume();
  }

  /** No request is left for the engine. */
  #leave(): void {
    if (!this.#engine) return;
    this.#engine.dismiss();
    if (this.runs) this.#state = { at: 'dismissed' };
    else {
      this.#state = { at: 'gone' };
      this.#turn?.release();
    }
  }

  kill(): void {
    this.#engine?.kill();
  }

  /**
   * Kills the engine and every process in its cgroup.
   * @returns the cgroups all of whose processes were killed; undefined for an engine without a cgroup.
   */
  killTree(): readonly string[] | undefined {
    if (!this.#cgroup) return undefined;
    this.#stays = false;
    // Kill the engine by its pidfd, too: it may have been moved elsewhere. Tasks that it traces end with it (PTRACE_O_EXITKILL).
    this.#engine?.kill();
    return [this.#cgroup, this.#apart].flatMap((cgroup) => (cgroup?.kill() ? [cgroup.path] : []));
  }

  /**
   * Freezes and verifies the restored tree, then lets the engine alone go on: the tree stays frozen.
   * @returns the reason why the tree must not run; undefined if it may run.
   */
  async verify(restorer: RestoringCaller): Promise<string | undefined> {
    if (!this.#engine || !this.#cgroup || !this.#confined) return 'is not where it should be';
    // If an earlier start was killed here, systemd has removed this cgroup, provided it was empty.
    this.#apart = EngineCgroup.apartFrom(this.#cgroup);
    const { traits, time } = this.#confined;
    const surroundings = inTimeNamespace(restorer.surroundings, time?.namespace);
    return verifyRestored(this.#cgroup, this.#apart, this.#engine, { ...restorer, traits, surroundings });
  }

  /**
   * Verifies the tree again and lets it run. The engine must have gone.
   * @returns the reason why the tree must not run; undefined if it runs.
   */
  async letRun(restorer: RestoringCaller): Promise<string | undefined> {
    if (!this.#cgroup || !this.#apart || !this.#confined) return 'is not where it should be';
    if (!this.#engine?.gone) return 'was to run beside its engine, which is still there';
    const { traits } = this.#confined;
    const reason = await letRestoredRun(this.#cgroup, { ...restorer, traits });
    this.#apart.remove();
    this.#apart = undefined;
    return reason;
  }

  // ---- for the next start of the service

  /** The descriptors by which the next start goes on with the engine: passed to `keep`, which copies them. */
  copyFdsFor(keep: (serial: number, fds: readonly OwnedFd[]) => void): void {
    if (!this.#engine || !this.runs) return;
    const { pidfd, stderr, socket } = this.#engine.fds;
    const copy = socket?.copy();
    keep(this.serial, [pidfd, stderr, ...(copy ? [copy] : [])]);
    copy?.close();
  }

  /** The state for the next start. An engine that has gone counts while its tree is frozen. */
  get snapshot(): { readonly engine?: EngineSnapshot; readonly engineInode?: string } {
    const [engine, cgroup, apart, confined] = [this.#engine, this.#cgroup, this.#apart, this.#confined];
    if (!engine || !(this.runs || apart)) return {};
    const inode = engine.fds.socket?.inode().toString();
    return {
      engine: {
        serial: this.serial,
        pid: engine.pid,
        connection: engine.connection,
        stays: this.#stays,
        ...(cgroup ? { cgroup: { path: cgroup.path, scope: cgroup.scope !== undefined } } : {}),
        ...(apart ? { apart: apart.path } : {}),
        ...(confined ? { confined } : {}),
      },
      ...(inode ? { engineInode: inode } : {}),
    };
  }

  // ---- events of its engine

  /** The engine has done nothing about its request. */
  get #isUnbegun(): boolean {
    const { at } = this.#state;
    return (
      at === 'ready' || at === 'offered' || (this.#state.at === 'gone' && this.#state.unheard !== undefined)
    );
  }

  #onMessage(packet: Packet): void {
    if (this.#isUnbegun) this.#state = { at: 'speaking' };
    this.#owner.onMessage(packet, this);
  }

  #onHangup(): void {
    switch (this.#state.at) {
      case 'ready':
        // If the engine gets a request nevertheless, offer() finds the hang-up.
        return;
      case 'offered':
        if (this.#engine?.leftUnread) {
          this.#owner.onUnread(this);
          return;
        }
        this.#state = { at: 'speaking' };
    }
    this.#owner.onHangup(this);
  }

  #onEnd(exit: EngineExit): void {
    const isUnheard = this.#isUnbegun;
    // Before the release, so that the session can still kill the tree that the engine left.
    if (!isUnheard) this.#owner.onEnd(exit, this);
    this.#state = isUnheard ? { at: 'gone', unheard: exit } : { at: 'gone' };
    this.#release(isUnheard);
  }

  /** The one place where an engine's turn and cgroups are released. */
  #release(keepsTurn: boolean): void {
    if (!keepsTurn) this.#turn?.release();
    // Only the engine itself was moved apart, so that processes here are its children, which must not stay.
    this.#apart?.kill();
    // Leftovers that must not stay were never verified. A tree that may stay is frozen until it is verified again.
    if (!this.#stays) {
      this.#cgroup?.kill();
      this.#apart?.remove();
      this.#cgroup?.remove();
    } else this.#cgroup?.removeWhenEmpty();
    this.#owner.onGone(this);
  }
}
