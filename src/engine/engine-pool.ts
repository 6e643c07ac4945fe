/**
 * Privileged engines that were started before there was a request for them. Starting one is mostly the work of the dynamic
 * linker, and takes longer than CRIU takes for a small request.
 *
 * A waiting engine holds nothing of anybody: /dev/null, its stderr, its end of a connection. It serves one session, as any
 * other. What it took over at its start is what a new one would: it has the service's limits and cgroup, shares its mount
 * table, and reads /proc and the kernel's features only with its request. The one thing that it has read is the
 * configuration; when that or the program has changed since, it is let go.
 */

import { ReqType } from '../protocol/messages.ts';
import { CriuMissingError, engineIdentity } from './criu-binary.ts';
import type { Engine, EngineEvents } from './engine.ts';
import { type PrivilegedEngineOptions, startRelayedEngine, umaskFor } from './privileged.ts';

export interface EnginePoolOptions extends PrivilegedEngineOptions {
  /** How many engines wait, half of them, rounded down, for restores; more for a while where more are needed at once. */
  readonly ahead: number;
}

/** While several engines are at work, they are not replaced before this: starting one takes a core from them. */
const refillMs = 500;

/** Where more requests come at once than engines wait, as many wait for the next wave, but no more than this. */
const mostAhead = 8;
/** So long after the last request. */
const calmMs = 5000;

/** The first pause after an engine that did not wait but ended; it doubles with each one that does so in a row. */
const firstPauseMs = 100;
const longestPauseMs = 60_000;

/** Hears what an engine says: nobody does before it is taken. */
interface Waiting {
  readonly engine: Engine;
  readonly identity: string;
  owner: EngineEvents | undefined;
}

/** Those of one umask, which an engine has from its start. */
interface Line {
  readonly umask: number;
  readonly waiting: Waiting[];
  /** How many are to wait, and how many where no more were needed at once. */
  wanted: number;
  readonly ahead: number;
}

export class EnginePool {
  readonly #options: EnginePoolOptions;
  /** In the order in which they are started. */
  readonly #lines: readonly Line[];
  /** Those that were taken and have not ended. */
  #atWork = 0;
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #calm: NodeJS.Timeout | undefined;
  #pauseMs = 0;
  #closed = false;

  constructor(options: EnginePoolOptions) {
    this.#options = options;
    const restores = Math.floor(options.ahead / 2);
    this.#lines = [
      { umask: umaskFor(ReqType.DUMP), ahead: options.ahead - restores },
      { umask: umaskFor(ReqType.RESTORE), ahead: restores },
    ].map((line) => ({ ...line, waiting: [], wanted: line.ahead }));
  }

  /** How many engines wait. They are no work of anybody's. */
  get size(): number {
    return this.#lines.reduce((sum, { waiting }) => sum + waiting.length, 0);
  }

  /**
   * One that waits and is what would be started now. It may still end before it has its request, like any process;
   * {@link Engine.leftUnread} and a failing {@link Engine.send} tell.
   * @returns undefined when there is none.
   */
  take(umask: number, events: EngineEvents): Engine | undefined {
    const line = this.#lines.find((each) => each.umask === umask);
    if (!line) return undefined;
    const { waiting, ahead } = line;
    const identity = waiting.length > 0 ? engineIdentity(this.#options.criu) : undefined;
    let taken: Engine | undefined;
    // A request is worth another try.
    this.#pauseMs = 0;
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      if (next.identity === identity && next.engine.waits) {
        next.owner = events;
        taken = next.engine;
        break;
      }
      next.engine.dismiss();
    }
    if (taken) this.#atWork += 1;
    else if (ahead > 0) line.wanted = Math.max(ahead, Math.min(line.wanted + 1, mostAhead));
    this.#calmDown();
    this.#refillIn(refillMs);
    return taken;
  }

  /** Starts the first at once: it gets ready while the service does. The others would take a core from the two. */
  start(): void {
    this.#startOne(refillMs);
  }

  /** Starts what is missing, one at a time and later: other work comes first. */
  refill(): void {
    this.#refillIn(0);
  }

  /** Lets all go; new ones come with the next request. */
  letGo(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const line of this.#lines) dismissBeyond(line, 0);
  }

  /** Lets all go, for good. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#calm);
    this.letGo();
  }

  #calmDown(): void {
    clearTimeout(this.#calm);
    if (!this.#lines.some(({ wanted, ahead }) => wanted > ahead)) return;
    this.#calm = setTimeout(() => {
      for (const line of this.#lines) {
        line.wanted = line.ahead;
        dismissBeyond(line, line.ahead);
      }
    }, calmMs);
    this.#calm.unref();
  }

  /** A line in which one is missing. */
  get #short(): Line | undefined {
    return this.#lines.find(({ waiting, wanted }) => waiting.length < wanted);
  }

  #refillIn(delayMs: number): void {
    if (this.#closed || !this.#short) return;
    const delay = Math.max(delayMs, this.#pauseMs);
    const due = performance.now() + delay;
    if (this.#timer && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#startOne();
    }, delay);
    // A service with nothing else to do may leave.
    this.#timer.unref();
  }

  /** @param pauseMs before the next one. */
  #startOne(pauseMs = 0): void {
    const line = this.#short;
    if (!line) return;
    const identity = engineIdentity(this.#options.criu);
    try {
      const engine = startRelayedEngine(this.#options, line.umask, [], {
        onMessage: (packet, from) => {
          const owner = this.#ownerOf(line, waiting);
          if (owner) owner.onMessage(packet, from);
          else for (const fd of packet.fds) fd.close();
        },
        onHangup: (from) => this.#ownerOf(line, waiting)?.onHangup(from),
        onEnd: (exit, from) => {
          const { owner } = waiting;
          if (owner) this.#atWork -= 1;
          owner?.onEnd(exit, from);
          // With one at work there is a core for the next one: a client that asks again at once would else find none.
          if (this.#atWork <= 1) this.refill();
        },
      });
      const waiting: Waiting = { engine, identity, owner: undefined };
      line.waiting.push(waiting);
    } catch (error) {
      // As for a request, which gets the reason; here nobody waits for it. Without criu it is not tried again before there is one.
      if (error instanceof CriuMissingError) return;
      this.#pause();
    }
    this.#refillIn(pauseMs);
  }

  /** One that says something, or ends, before it was asked anything waits no more. */
  #ownerOf(line: Line, waiting: Waiting): EngineEvents | undefined {
    const at = line.waiting.indexOf(waiting);
    if (at !== -1) {
      line.waiting.splice(at, 1);
      waiting.engine.dismiss();
      this.#pause();
      this.refill();
    }
    return waiting.owner;
  }

  /** An engine that cannot even wait is not to be started over and over. */
  #pause(): void {
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, firstPauseMs), longestPauseMs);
  }
}

function dismissBeyond({ waiting }: Line, count: number): void {
  for (const { engine } of waiting.splice(count)) engine.dismiss();
}
