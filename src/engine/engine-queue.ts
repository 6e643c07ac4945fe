/** How many engines each user may have: in total and for each user, with a reserve for root. Requests beyond it wait for their turn. */
import type { UserKey } from '../proc/connection-user.ts';
import { Pace } from './pace.ts';

export interface Limits {
  /** Connections at once; beyond it, each gets its one reply and is closed. */
  readonly sessions: number;
  readonly sessionsPerUser: number;
  /** Engines at once; beyond it, requests wait for their turn. */
  readonly engines: number;
  readonly enginesPerUser: number;
}

/** What others than root may have: an eighth, at least one, is left so that root gets through whatever they have asked for. */
export function withoutReserve(total: number): number {
  return total === 1 ? 1 : total - Math.max(1, Math.floor(total / 8));
}

/** How long the requests of one user may be together that wait for an engine; each of them is held a few times. */
export const maxWaitingBytes = 1024 * 1024;

/**
 * How many scopes one user may have made at once, and in a second from then on: each is work of systemd's, and lines in the journal,
 * and a restore of nothing takes a few milliseconds of its user.
 */
const scopeBurst = 32;
const scopesPerSecond = 10;

/** What the time is, and what happens later. */
export interface Clock {
  now(): number;
  /** @returns what calls it off. */
  after(ms: number, callback: () => void): () => void;
}

const realClock: Clock = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.ceil(ms));
    return () => clearTimeout(timer);
  },
};

/** One engine: waited for, then had, until it is released. */
export interface EngineTurn {
  /** Resolves when it may start; at once is undefined. Rejects with what {@link cancel} was given. */
  readonly ready: Promise<void> | undefined;
  /** Ends the waiting. Nothing happens once it may start. */
  cancel(reason: Error): void;
  /** The engine has gone, or will not be started; a second call does nothing. */
  release(): void;
}

interface Waiting {
  readonly bytes: number;
  readonly paced: boolean;
  start(): void;
  cancel(reason: Error): void;
}

/** Root's requests have a queue, and a share, of their own. */
type Queue = UserKey | 'root';

/**
 * The engines at work, and the requests that wait for one. Users take turns, however many requests each of them has; those of
 * one user are served in their order.
 */
export class EngineQueue {
  readonly #limits: Limits;
  readonly #running = new Map<Queue, number>();
  /** In the order in which the users are served next. */
  readonly #queues = new Map<Queue, Waiting[]>();
  #total = 0;
  readonly #pace = new Pace<Queue>(scopeBurst, scopesPerSecond);
  readonly #clock: Clock;
  #alarm: (() => void) | undefined;

  constructor(limits: Limits, clock = realClock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  get waiting(): number {
    let count = 0;
    for (const queue of this.#queues.values()) count += queue.length;
    return count;
  }

  /**
   * @param privileged for a fully privileged caller, which nobody else's engines may hold up.
   * @param bytes how long the request is.
   * @param paced for one that takes work of systemd's, which has a pace for each user.
   * @returns a sentence where it would have to wait, and may not.
   */
  ask(user: UserKey, privileged: boolean, bytes: number, paced = false): EngineTurn | string {
    const queue: Queue = privileged ? 'root' : user;
    // Whoever waits comes first.
    if (!this.#queues.has(queue) && this.#mayStart(queue) && this.#isDue(queue, paced)) {
      if (paced) this.#pace.take(queue, this.#clock.now());
      return this.count(user, privileged);
    }
    if (queue !== 'root' && this.#bytesOf(queue) + bytes > maxWaitingBytes) {
      return `your requests that wait for an engine are ${maxWaitingBytes} bytes long together, which is as much as those of one user may be: ask again when some are done`;
    }
    let held = false;
    const release = (): void => {
      if (held) this.#leave(queue);
      held = false;
    };
    let waiting: Waiting | undefined;
    const ready = new Promise<void>((resolve, reject) => {
      waiting = {
        bytes,
        paced,
        start: () => {
          held = true;
          waiting = undefined;
          resolve();
        },
        cancel: reject,
      };
      this.#queues.set(queue, [...(this.#queues.get(queue) ?? []), waiting]);
    });
    this.#setAlarm();
    const cancel = (reason: Error): void => {
      if (waiting) this.#forget(queue, waiting);
      waiting?.cancel(reason);
      waiting = undefined;
    };
    return { ready, cancel, release };
  }

  /** One that runs already, whatever the limits are. */
  count(user: UserKey, privileged: boolean): EngineTurn {
    const queue: Queue = privileged ? 'root' : user;
    let held = true;
    this.#enter(queue);
    const release = (): void => {
      if (held) this.#leave(queue);
      held = false;
    };
    return { ready: undefined, cancel: () => {}, release };
  }

  #bytesOf(queue: Queue): number {
    return (this.#queues.get(queue) ?? []).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  #mayStart(queue: Queue): boolean {
    const { engines, enginesPerUser } = this.#limits;
    if (queue === 'root') return this.#total < engines;
    return this.#total < withoutReserve(engines) && (this.#running.get(queue) ?? 0) < enginesPerUser;
  }

  #isDue(queue: Queue, paced: boolean): boolean {
    return !paced || this.#pace.waitMs(queue, this.#clock.now()) === 0;
  }

  /** For those whom nothing but the pace holds up: no engine that leaves would let them start. */
  #setAlarm(): void {
    this.#alarm?.();
    this.#alarm = undefined;
    const now = this.#clock.now();
    const waits = [...this.#queues].flatMap(([queue, [first]]) =>
      first?.paced && this.#mayStart(queue) ? [this.#pace.waitMs(queue, now)] : [],
    );
    if (waits.length === 0) return;
    this.#alarm = this.#clock.after(Math.min(...waits), () => {
      this.#alarm = undefined;
      this.#startNext();
    });
  }

  #enter(queue: Queue): void {
    this.#total += 1;
    this.#running.set(queue, (this.#running.get(queue) ?? 0) + 1);
  }

  #leave(queue: Queue): void {
    this.#total -= 1;
    const left = (this.#running.get(queue) ?? 0) - 1;
    if (left > 0) this.#running.set(queue, left);
    else this.#running.delete(queue);
    this.#startNext();
  }

  #startNext(): void {
    for (;;) {
      const [next, waiting] =
        [...this.#queues].find(
          ([queue, [first]]) => this.#mayStart(queue) && this.#isDue(queue, first!.paced),
        ) ?? [];
      if (next === undefined || !waiting) break;
      const [first, ...others] = waiting;
      if (first!.paced) this.#pace.take(next, this.#clock.now());
      // Served once, a user goes to the end of the line.
      this.#queues.delete(next);
      if (others.length > 0) this.#queues.set(next, others);
      this.#enter(next);
      first!.start();
    }
    this.#setAlarm();
  }

  #forget(queue: Queue, waiting: Waiting): void {
    const others = (this.#queues.get(queue) ?? []).filter((each) => each !== waiting);
    if (others.length > 0) this.#queues.set(queue, others);
    else this.#queues.delete(queue);
  }
}
