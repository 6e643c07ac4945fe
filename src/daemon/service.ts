/** The service: accepts, keeps its sessions, tells systemd, drains. */

import type { ConfinedEngineOptions } from '../engine/confined.ts';
import type { PrivilegedEngineOptions } from '../engine/privileged.ts';
import type { Restorers } from '../policy/authorize.ts';
import { readOwnState } from '../policy/caller.ts';
import { CallerReader } from '../policy/caller-reader.ts';
import type { StandingOptions } from '../policy/standing.ts';
import { type NativeError, type SeqpacketSocket, Watch } from '../socket/binding.ts';
import type { Log } from '../systemd/log.ts';
import type { Notifier } from '../systemd/notifier.ts';
import { Records } from './records.ts';
import { Session, type SessionContext } from './session.ts';

export interface ServiceOptions {
  readonly engine: PrivilegedEngineOptions;
  readonly confined: ConfinedEngineOptions;
  readonly standing: StandingOptions;
  readonly restorers: Restorers;
  readonly requestTimeoutMs: number;
}

/** How many connections are accepted before others on the event loop get their turn. */
const acceptsPerTurn = 64;

/** How often systemd is told what is going on, at most. */
const statusIntervalMs = 200;

/** How long it may take to read what a caller is: it may be inside execve(2), and a file system behind that may never answer. */
const callerDeadlineMs = 5000;

/** When accept(2) finds no free descriptor, trying again at once would only burn time. */
const acceptPauseMs = 100;

export class Service {
  readonly #listener: SeqpacketSocket;
  readonly #log: Log;
  readonly #notifier: Notifier;
  readonly #context: SessionContext;
  readonly #sessions = new Set<Session>();
  #nextId = 1;
  #statusPending = false;
  #onDrained: (() => void) | undefined;

  /** Takes over `listener`. */
  constructor(listener: SeqpacketSocket, log: Log, notifier: Notifier, options: ServiceOptions) {
    this.#listener = listener;
    // Linux 6.16: sockets accepted from it inherit that, and a packet with descriptors fails at its sender.
    listener.refuseFds();
    this.#log = log;
    this.#notifier = notifier;
    const own = readOwnState();
    this.#context = {
      engine: options.engine,
      records: new Records(log, () => this.#changed()),
      own,
      reader: new CallerReader(own, callerDeadlineMs),
      confined: options.confined,
      standing: options.standing,
      restorers: options.restorers,
      requestTimeoutMs: options.requestTimeoutMs,
    };
  }

  start(): void {
    this.#accept();
    this.#notifier.ready(this.#status());
    this.#log.debug('Ready');
  }

  /** Stops accepting; connections that nothing was asked on get their one reply, engines finish. Resolves when all are gone. */
  drain(): Promise<void> {
    this.#listener.close();
    this.#notifier.stopping('Stopping');
    for (const session of [...this.#sessions]) session.leaveIfIdle('The service is stopping: connect again');
    this.#changed();
    return new Promise((resolve) => {
      this.#onDrained = resolve;
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
        this.#open(socket);
      }
    } catch (error) {
      this.#log.error(`Cannot accept: ${(error as NativeError).message}`);
      this.#listener.watch(0);
      setTimeout(() => {
        if (this.#listener.fd >= 0) this.#accept();
      }, acceptPauseMs);
    }
  }

  #open(socket: SeqpacketSocket): void {
    const session = new Session(this.#nextId, socket, this.#context, (ended) => {
      this.#sessions.delete(ended);
      this.#changed();
      this.#checkDrained();
    });
    this.#nextId += 1;
    this.#sessions.add(session);
    this.#changed();
  }

  #checkDrained(): void {
    if (this.#onDrained && this.#sessions.size === 0) this.#onDrained();
  }

  /** Many changes are one status: each costs systemd more than a small request costs us. */
  #changed(): void {
    if (this.#statusPending) return;
    this.#statusPending = true;
    setTimeout(() => {
      this.#statusPending = false;
      this.#notifier.status(this.#status());
    }, statusIntervalMs).unref();
  }

  #status(): string {
    const { done, failed, refused } = this.#context.records.totals;
    const busy = [...this.#sessions].filter((session) => session.busy).length;
    const serving = this.#onDrained ? `Stopping, waiting for ${busy} of` : `Serving ${busy} of`;
    return `${serving} ${this.#sessions.size} connections; ${done} requests done, ${failed} failed, ${refused} refused`;
  }
}
