/** The service: accepts connections, owns the sessions, reports to systemd, drains. */
import { constants as os } from 'node:os';
import type { AnswerFile } from '../engine/answer-file.ts';
import { cgroupRegister } from '../engine/cgroup-register.ts';
import type { ConfinedEngineOptions } from '../engine/confined.ts';
import { EngineCgroup } from '../engine/engine-cgroup.ts';
import { EnginePool, type EnginePoolOptions } from '../engine/engine-pool.ts';
import { EngineQueue, type Limits } from '../engine/engine-queue.ts';
import { InstalledCriu } from '../engine/installed-criu.ts';
import { KeptAnswers } from '../engine/kept-answers.ts';
import type { Kerndat } from '../engine/kerndat.ts';
import { OwnPids } from '../engine/own-pids.ts';
import { type NativeError, native, type SeqpacketSocket, Watch } from '../native/binding.ts';
import type { Restorers } from '../policy/authorize.ts';
import { callerOfOtherUsers, type StandingOptions } from '../policy/standing.ts';
import { readOwnState } from '../proc/caller.ts';
import { CallerReader } from '../proc/caller-reader.ts';
import { type ConnectionUser, looksLikeRoot, userOf } from '../proc/connection-user.ts';
import { OwnProcMount } from '../proc/proc-mount.ts';
import { TreeReader } from '../proc/tree-reader.ts';
import type { MetricsFile } from '../records/metrics-file.ts';
import type { Load } from '../records/metrics-text.ts';
import { Records } from '../records/records.ts';
import { rollbackMs, type Timeouts } from '../session/caller/deadlines.ts';
import { judge } from '../session/caller/judge.ts';
import type { SessionContext } from '../session/context.ts';
import type { NamingOptions } from '../session/engines/naming.ts';
import { endUnbegun } from '../session/keep/found-engine.ts';
import { SessionFile } from '../session/keep/session-file.ts';
import { type StoredSession, sortStored } from '../session/keep/stored-sessions.ts';
import { Session } from '../session/session.ts';
import { endUnverified, prepareSweeps } from '../session/trees/sweep.ts';
import type { StoredFds } from '../systemd/activation.ts';
import type { FdStore } from '../systemd/fd-store.ts';
import { type Log, sanitize } from '../systemd/log.ts';
import type { Notifier } from '../systemd/notifier.ts';
import { SessionQuota } from './session-quota.ts';
import { startStopTimer } from './stop-timer.ts';
import { isNews } from './told-limits.ts';
import { TurnedAway } from './turned-away.ts';

export interface ServiceOptions {
  readonly engine: EnginePoolOptions;
  readonly confined: ConfinedEngineOptions;
  readonly naming: NamingOptions;
  readonly kerndat: Kerndat;
  /** The file of constant answers, which outlives this start. */
  readonly answerFile: AnswerFile | undefined;
  readonly standing: StandingOptions;
  readonly restorers: Restorers;
  readonly limits: Limits;
  readonly timeouts: Timeouts;
  /** The largest packet of a caller, in bytes. */
  readonly maxPacketBytes: number;
  /** A directory of root that outlives this start, for the list of frozen cgroups. Without it nothing is frozen. */
  readonly runtimeDirectory: string | undefined;
  /** The time after which an idle service exits; undefined: never. */
  readonly idleTimeoutMs: number | undefined;
  /** The time that a stop waits for engines at work. */
  readonly stopTimeoutMs: number;
  readonly metrics: MetricsFile | undefined;
}

/** The number of connections to accept before other events get their turn. */
const acceptsPerTurn = 16;

/** Serve the connections in the backlog first; clean up after an earlier start later. */
const sweepDelayMs = 50;

/** The shortest time between two status reports to systemd. */
const statusIntervalMs = 200;

/** The time for reading a caller in /proc: the caller may be inside execve(2), on a file system that never answers. */
const callerDeadlineMs = 30_000;

/** The time for last replies at the end of a stop. */
const graceMs = 1000;

/** The pause before the next try if accept(2) fails, for example without a free descriptor. */
const acceptPauseMs = 100;

export class Service {
  readonly #listener: SeqpacketSocket;
  readonly #log: Log;
  readonly #notifier: Notifier;
  readonly #context: SessionContext;
  readonly #sessions = new Set<Session>();
  readonly #quota: SessionQuota;
  readonly #turnedAway = new TurnedAway();
  #nextId = 1;
  #statusPending = false;
  /** What does not work with the installed CRIU on this kernel. */
  #limits: readonly string[] = [];
  #onDrained: (() => void) | undefined;
  readonly #idleTimeoutMs: number | undefined;
  readonly #stopTimeoutMs: number;
  readonly #runtimeDirectory: string | undefined;
  readonly #metrics: MetricsFile | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #onIdle: () => void = () => {};

  /** Takes over `listener`. */
  constructor(
    listener: SeqpacketSocket,
    log: Log,
    notifier: Notifier,
    store: FdStore,
    options: ServiceOptions,
  ) {
    this.#listener = listener;
    // Since Linux 6.16 accepted sockets inherit this, and sending a packet with descriptors fails.
    listener.refuseFds();
    this.#log = log;
    this.#notifier = notifier;
    const own = readOwnState();
    this.#quota = new SessionQuota(options.limits);
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.#stopTimeoutMs = options.stopTimeoutMs;
    this.#runtimeDirectory = options.runtimeDirectory;
    this.#metrics = options.metrics;
    const pool = new EnginePool(options.engine);
    this.#context = {
      engine: options.engine,
      store,
      pool,
      ownPids: new OwnPids(pool),
      answers: new KeptAnswers(options.engine, options.answerFile),
      records: new Records(log, (ended) => {
        this.#metrics?.ended(ended);
        this.#changed();
      }),
      own,
      judge,
      makeFile: SessionFile.make,
      endUnbegun,
      sleepsReading: (engine) => engine.sleepsReading,
      reader: new CallerReader(own, callerDeadlineMs),
      trees: new TreeReader(),
      confined: options.confined,
      naming: options.naming,
      kerndat: options.kerndat,
      standing: options.standing,
      procMount: new OwnProcMount(),
      restorers: options.restorers,
      installed: new InstalledCriu(options.engine.criu),
      queue: new EngineQueue(options.limits),
      timeouts: options.timeouts,
      maxPacketBytes: options.maxPacketBytes,
    };
  }

  /** @param stored descriptors of sessions of an earlier start from systemd's store, by session id. */
  start(stored: ReadonlyMap<number, StoredFds> = new Map()): void {
    this.#prepareSweeps();
    this.#context.pool.start();
    const owned = this.#goOn(stored);
    this.#accept();
    this.#notifier.ready(this.#status());
    this.#log.debug('Ready');
    this.#armIdle();
    setTimeout(() => {
      this.#sweep(owned);
      this.#tellLimits().catch((error) => this.#log.error(sanitize((error as Error).message)));
    }, sweepDelayMs).unref();
  }

  /** Says once in a boot what does not work with the installed CRIU on this kernel, before a person meets it. */
  async #tellLimits(): Promise<void> {
    this.#limits = await this.#context.installed.limits();
    if (this.#limits.length === 0) return;
    this.#changed();
    if (!isNews(this.#runtimeDirectory, this.#limits)) return;
    for (const limit of this.#limits) this.#log.warning(limit, { CRIU_WARNING: limit });
  }

  /**
   * Calls back when the service has been idle for its idle timeout. systemd keeps the socket with connections that were not
   * accepted yet, and starts the service again for them.
   */
  onIdle(callback: () => void): void {
    this.#onIdle = callback;
  }

  #armIdle(): void {
    clearTimeout(this.#idleTimer);
    if (this.#idleTimeoutMs === undefined || this.#sessions.size > 0) return;
    this.#idleTimer = setTimeout(() => {
      if (this.#sessions.size === 0) this.#onIdle();
    }, this.#idleTimeoutMs);
    this.#idleTimer.unref();
  }

  /** Replaces everything that was prepared and may be stale: waiting engines, stored answers, kerndat, the mount of /proc. */
  reload(): void {
    this.#notifier.reloading();
    this.#context.answers.drop();
    this.#context.kerndat.renew();
    this.#context.procMount.refresh();
    this.#context.pool.letGo();
    this.#context.pool.refill();
    this.#notifier.ready(this.#status());
  }

  /** Leaves every session to the next start. @returns false without a store to keep them. */
  keepForRestart(): boolean {
    if (!this.#context.store.keeps) return false;
    this.#listener.close();
    this.#notifier.stopping('Restarting');
    for (const session of [...this.#sessions]) session.keepForRestart();
    return true;
  }

  /** Resumes the stored sessions. @returns the cgroups of their engines. */
  #goOn(stored: ReadonlyMap<number, StoredFds>): Set<string> {
    const { store, records } = this.#context;
    const cgroups = new Set<string>();
    for (const [id, fds] of stored) {
      this.#nextId = Math.max(this.#nextId, id + 1);
      const session = sortStored(id, fds);
      const goesOn = session?.engine && session.snapshot.engine?.serial;
      for (const serial of fds.engines.keys())
        if (serial !== goesOn) store.drop({ session: id, engine: serial });
      if (!session) {
        store.drop({ session: id });
        records.notResumed(id);
        continue;
      }
      if (session.snapshot.engine?.cgroup) cgroups.add(session.snapshot.engine.cgroup.path);
      const socket = native.adopt(session.caller, true);
      const user = userOf(socket);
      this.#quota.count(user.key);
      this.#open(id, socket, user, session);
    }
    EngineCgroup.removeEmpty();
    return cgroups;
  }

  #prepareSweeps(): void {
    cgroupRegister.open(this.#runtimeDirectory);
    const { records } = this.#context;
    const thawed = prepareSweeps(this.#runtimeDirectory, {
      onEnded: (process) => records.endedLeft(process),
      onUnknown: (process) => records.notEnded(process),
      onFailure: (error) => this.#log.error(`Cannot look for what engines have left: ${error.message}`),
    });
    for (const cgroup of thawed)
      this.#log.warning(
        `Thawed ${sanitize(cgroup)}, which an earlier start of this service had frozen that was killed`,
      );
  }

  /** Cleans up after an earlier start that was killed. */
  #sweep(owned: ReadonlySet<string>): void {
    endUnverified(owned).then(
      (pids) => {
        for (const pid of pids)
          this.#log.warning(
            `Ended process ${pid}, which a restore has left that nobody verified: restore it again from its images`,
          );
      },
      (error: Error) => this.#log.error(`Cannot look for what was left: ${error.message}`),
    );
    EngineCgroup.endNeverRun(owned).then(
      (names) => {
        for (const name of names)
          this.#log.warning(
            `Ended what was restored in ${name}, which had not run, and whose session is lost: restore it again from its images`,
          );
      },
      (error: Error) => this.#log.error(`Cannot look for what never ran: ${error.message}`),
    );
    EngineCgroup.stopEmptyScopes().then(
      (names) => {
        for (const name of names)
          this.#log.info(`Stopped ${name}: its engine had ended before systemd put it there`);
      },
      (error: Error) =>
        this.#log.warning(
          `Cannot stop scopes that nobody is in, which the next start tries again: ${error.message}`,
        ),
    );
  }

  /**
   * Stops accepting. Connections without a request get their one reply; engines finish.
   * @returns true when all sessions are over; false if the time ran out: engines that do not roll back are then left running.
   */
  async drain(): Promise<boolean> {
    this.#listener.close();
    this.#turnedAway.close();
    this.#context.pool.close();
    this.#notifier.stopping('Stopping');
    for (const session of [...this.#sessions]) session.leaveIfIdle('The service is stopping: connect again');
    this.#changed();
    const drained = await this.#drained();
    this.#context.records.close();
    return drained;
  }

  #drained(): Promise<boolean> {
    return new Promise((resolve) => {
      const reason = `it was cut off, because this service stops and waits no longer than ${this.#stopTimeoutMs / 1000} s`;
      const endTimer = startStopTimer(this.#notifier, this.#stopTimeoutMs, rollbackMs + graceMs, {
        onOverdue: () => {
          for (const session of [...this.#sessions]) session.cutOff(reason);
        },
        onEnd: () => {
          endTimer();
          resolve(false);
        },
      });
      this.#onDrained = () => {
        endTimer();
        resolve(true);
      };
      this.#checkDrained();
    });
  }

  #accept(): void {
    this.#listener.watch(Watch.readable, (_events, error) => {
      if (error) this.#log.error(`The listening socket failed: ${error.message}`);
      else this.#acceptSome();
    });
  }

  #acceptSome(): void {
    try {
      for (let i = 0; i < acceptsPerTurn; i += 1) {
        const socket = this.#listener.accept();
        if (!socket) return;
        this.#admit(socket);
      }
    } catch (error) {
      this.#log.error(`Cannot accept: ${(error as NativeError).message}`);
      this.#listener.watch(0);
      setTimeout(() => {
        if (this.#listener.fd >= 0) this.#accept();
      }, acceptPauseMs);
    }
  }

  /** Connections over a limit are accepted, too, and get a refusal: the backlog is one queue for all users. */
  #admit(socket: SeqpacketSocket): void {
    const user = userOf(socket);
    if (user.foreign) {
      this.#turnAway(socket, user, os.errno.EPERM, callerOfOtherUsers());
      return;
    }
    const reason = this.#quota.enter(user.key, () => looksLikeRoot(user.pid));
    if (reason === undefined) this.#open(this.#nextId, socket, user);
    else this.#turnAway(socket, user, os.errno.EAGAIN, reason);
  }

  #turnAway(socket: SeqpacketSocket, user: ConnectionUser, errno: number, reason: string): void {
    this.#turnedAway.add(socket, errno, reason);
    this.#context.records.turnedAway(user, errno, reason);
  }

  #open(id: number, socket: SeqpacketSocket, user: ConnectionUser, stored?: StoredSession): void {
    const session = new Session(
      id,
      socket,
      user,
      this.#context,
      (ended) => {
        this.#sessions.delete(ended);
        this.#armIdle();
        this.#quota.leave(user.key);
        this.#changed();
        this.#checkDrained();
      },
      stored,
    );
    this.#nextId = Math.max(this.#nextId, id + 1);
    if (!session.isOver) this.#sessions.add(session);
    this.#armIdle();
    this.#changed();
    if (!stored) session.look();
  }

  #checkDrained(): void {
    if (this.#sessions.size === 0) this.#onDrained?.();
  }

  /** Combines many changes into one status: each status costs systemd more than a small request costs this service. */
  #changed(): void {
    if (this.#statusPending) return;
    this.#statusPending = true;
    setTimeout(() => {
      this.#statusPending = false;
      this.#notifier.status(this.#status());
      this.#metrics?.load(this.#load);
    }, statusIntervalMs).unref();
  }

  get #load(): Load {
    const busy = [...this.#sessions].filter((session) => session.busy).length;
    return { connections: this.#sessions.size, busy, waiting: this.#context.queue.waiting };
  }

  #status(): string {
    const { done, failed, refused } = this.#context.records.totals;
    const { connections, busy, waiting } = this.#load;
    const queued = waiting === 0 ? '' : `, ${waiting} waiting for an engine`;
    const serving = this.#onDrained ? `Stopping, waiting for ${busy} of` : `Serving ${busy} of`;
    const limits = this.#limits.map((limit) => `; ${limit}`).join('');
    return `${serving} ${connections} connections${queued}; ${done} requests done, ${failed} failed, ${refused} refused${limits}`;
  }
}
