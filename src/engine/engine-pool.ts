/**
 * Privileged engines that are started before there is a request for them. Most of the start of an engine is the work of the
 * dynamic linker, and takes longer than CRIU takes for a small request.
 *
 * A waiting engine holds nothing of any caller: only /dev/null, its stderr, and its end of a connection. It serves a single
 * session, like any other engine. Its inherited state is the same as a new engine's: it has the service's limits and cgroup,
 * shares its mount table, and reads /proc and the kernel's features only with its request. Only the configuration was read
 * before; if the configuration or the program has changed since, the engine is dismissed.
 */

import { ReqType } from '../protocol/messages.ts';
import { CriuMissingError, engineIdentity } from './criu-binary.ts';
import type { Engine, EngineEvents } from './engine.ts';
import { type PrivilegedEngineOptions, startRelayedEngine, umaskFor } from './privileged.ts';

export interface EnginePoolOptions extends PrivilegedEngineOptions {
  /**
   * The number of waiting engines; half of them, rounded down, are for restores. After a burst of requests more engines wait for
   * a while.
   */
  readonly ahead: number;
}

/** While several engines are at work, wait so long before replacing them: starting an engine takes a core from them. */
const refillMs = 500;

/** If a burst needs more engines than wait, as many are kept for the next burst, up to this limit. */
const mostAhead = 8;
/** The time after the last request when extra engines are dismissed. */
const calmMs = 5000;

/** The first pause after an engine that ended instead of waiting; the pause doubles with each such engine in a row. */
const firstPauseMs = 100;
const longestPauseMs = 60_000;

/** A waiting engine. Its events go to its owner, which is set when it is taken. */
interface Waiting {
  readonly engine: Engine;
  readonly identity: string;
  owner: EngineEvents | undefined;
}

/** The engines with the same umask, which is set at their start. */
interface Line {
  readonly umask: number;
  readonly waiting: Waiting[];
  /** The number of engines that should wait now, and the number outside of bursts. */
  wanted: number;
  readonly ahead: number;
}

export class EnginePool {
  readonly #options: EnginePoolOptions;
  /** In the order of starting. */
  readonly #lines: readonly Line[];
  /** The number of engines that were taken and have not ended. */
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

  /**
   * Takes a waiting engine that is the same as a newly started engine would be. It may still end before it gets its request, like
   * any process; {@link Engine.leftUnread} and a failing {@link Engine.send} tell.
   * @returns undefined if no such engine waits.
   */
  take(umask: number, events: EngineEvents): Engine | undefined {
    const line = this.#lines.find((each) => each.umask === umask);
    if (!line) return undefined;
    const { waiting, ahead } = line;
    const identity = waiting.length > 0 ? engineIdentity(this.#options.criu) : undefined;
    let taken: Engine | undefined;
    // A request is a reason to try again at once.
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

  /**
   * Starts the first engine immediately, so that it gets ready while the service does. The others come later, because they would
   * take a core from the two.
   */
  start(): void {
    this.#startOne(refillMs);
  }

  /** Starts missing engines, one at a time and later, because other work comes first. */
  refill(): void {
    this.#refillIn(0);
  }

  /** Dismisses all waiting engines; new ones start with the next request. */
  letGo(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const line of this.#lines) dismissBeyond(line, 0);
  }

  /** The waiting engines. */
  get waiting(): readonly Engine[] {
    return this.#lines.flatMap(({ waiting }) => waiting.map(({ engine }) => engine));
  }

  /** Dismisses the waiting engine with this pid, if there is one, and soon starts another. */
  letGoOf(pid: number): void {
    for (const line of this.#lines) {
      const at = line.waiting.findIndex(({ engine }) => engine.pid === pid);
      if (at !== -1) line.waiting.splice(at, 1)[0]!.engine.dismiss();
    }
    this.refill();
  }

  /** Dismisses all waiting engines, and starts no more. */
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

  /** A line with a missing engine. */
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
    // The timer does not keep an idle service running.
    this.#timer.unref();
  }

  /** @param pauseMs before the next engine. */
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
          // With a single engine at work, there is a core to start the next one. Otherwise a client that asks again immediately
          // would find no engine.
          if (this.#atWork <= 1) this.refill();
        },
      });
      const waiting: Waiting = { engine, identity, owner: undefined };
      line.waiting.push(waiting);
    } catch (error) {
      // A request reports this error to its caller; here there is no caller. Without criu, starting is not retried before criu is
      // installed.
      if (error instanceof CriuMissingError) return;
      this.#pause();
    }
    this.#refillIn(pauseMs);
  }

  /** If an engine ends or sends a message before it has a request, it is removed from the line. */
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

  /** Slows down restarts of an engine that ends instead of waiting. */
  #pause(): void {
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, firstPauseMs), longestPauseMs);
  }
}

function dismissBeyond({ waiting }: Line, count: number): void {
  for (const { engine } of waiting.splice(count)) engine.dismiss();
}
