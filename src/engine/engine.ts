/**
 * A `criu swrk` process, held by its pidfd: its messages, its exit, its last lines on stderr. This service does not kill an
 * engine at work: if an engine is killed in the middle of a dump, the dumped process stays in an unknown state.
 */
import { constants as os } from 'node:os';
import {
  type ExitStatus,
  native,
  type OwnedFd,
  type Packet,
  type Peeked,
  type Process,
  type SeqpacketSocket,
  Watch,
} from '../native/binding.ts';
import { closeSocket } from '../native/close-socket.ts';
import { maxPacketBytes } from '../native/limits.ts';
import { within } from '../proc/deadline.ts';
import { sleepsOn } from '../proc/sleeping.ts';
import type { StderrFile } from './stderr-file.ts';

/**
 * The descriptor of an engine's connection, in its own table: `criu swrk 3`. If the request names this number, another is used
 * (privileged.ts).
 */
export const usualConnection = 3;

/** The longest time to wait for the last words of an engine that has answered: it may be in its caller's hands. */
const lateWordsMs = 5_000;

/** The way an engine ended: `lost` by a signal; `unknown` if it was no child of this process. */
export interface EngineExit {
  readonly how: 'success' | 'failure' | 'lost' | 'unknown';
  /** A sentence: the exit, and the last line on stderr if there is one. */
  readonly reason: string;
}

/** The events for the owner of an engine. Calls do not overlap; `onEnd` is the last. */
export interface EngineEvents {
  /** A message; the receiver owns its fds. The next comes only after {@link Engine.resume}. */
  onMessage(packet: Packet, engine: Engine): void;
  /** The engine's end of the connection is closed, though the engine may still run. */
  onHangup(engine: Engine): void;
  /** The process has gone, and all its messages were delivered. */
  onEnd(exit: EngineExit, engine: Engine): void;
}

/** Further questions and events for engines whose messages the caller could forge. */
export interface ConfinedEngineEvents extends EngineEvents {
  /** True if this message, which carries descriptors, should carry the master end of a terminal. */
  expectsTerminal(message: Buffer): boolean;
  /**
   * The engine has sent a message that must not be used, and its connection is closed. The reason continues a sentence about the
   * engine.
   */
  onLie(reason: string, engine: Engine): void;
}

export class Engine {
  readonly pid: number;
  /** The number of its connection in its own table. */
  readonly connection: number;
  readonly #process: Process;
  readonly #stderr: StderrFile;
  readonly #events: EngineEvents;
  /** Undefined for an engine of root, whose messages are trusted. */
  readonly #confined: ConfinedEngineEvents | undefined;
  /** Undefined for an engine that owns the caller's connection, and after the hang-up. */
  #socket: SeqpacketSocket | undefined;
  #leftUnread = false;
  #paused = false;
  #delivering = false;
  /** The socket whose head is the last delivered message, which must still be taken from the queue. */
  #untaken: SeqpacketSocket | undefined;
  #exit: EngineExit | undefined;
  /** Called once the kernel has reported the exit. */
  readonly #onceGone: (() => void)[] = [];
  #ended = false;
  /** Its last lines on stderr, after it has ended. */
  #lastWords: readonly string[] | undefined;

  /** Owns all its arguments. @param confined for a confined engine. */
  constructor(
    process: Process,
    socket: SeqpacketSocket | undefined,
    stderr: StderrFile,
    events: EngineEvents,
    connection = usualConnection,
    confined?: ConfinedEngineEvents,
  ) {
    this.pid = process.pid;
    this.connection = connection;
    this.#process = process;
    this.#socket = socket;
    this.#stderr = stderr;
    this.#events = events;
    this.#confined = confined;
    this.#watch();
    process.onExit((status) => {
      this.#exit = this.#describe(status);
      this.#process.close();
      // A user may hold a copy of the other end, from a child of the engine: what is queued is read, and no more is taken.
      this.#socket?.shutdown('read');
      if (!this.#paused) this.#drain();
      for (const call of this.#onceGone.splice(0)) call();
    });
  }

  /** True while its end of the connection is open and no message from it is queued. */
  get waits(): boolean {
    try {
      return this.#socket?.peek(0).kind === 'nothing';
    } catch {
      return false;
    }
  }

  /**
   * True while it sleeps in a read of its connection, whose queue is empty then, and no message from it is queued. The order
   * matters: if the engine answers and waits for the next request (keep_open, a pre-dump loop) between the two checks, the second
   * finds the answer. Undefined if it cannot be known.
   */
  get sleepsReading(): boolean | undefined {
    // If the engine has spoken or exited, do not read /proc: the pid may belong to another process by now, and reading that one
    // can block in its execve(2).
    if (!this.waits) return false;
    const sleeps = sleepsOn(this.pid, this.connection);
    return sleeps && this.waits;
  }

  /**
   * True if its end of the connection was closed while our message was unread: then the engine did nothing about that message.
   */
  get leftUnread(): boolean {
    return this.#leftUnread;
  }

  /**
   * Sends a message. The engine reads only when it waits for a message, and then its queue is empty.
   * @returns false if it cannot be delivered: the engine has gone, and its end will be reported.
   */
  send(data: Uint8Array): boolean {
    try {
      return this.#socket?.send(data) ?? false;
    } catch {
      return false;
    }
  }

  /** Makes its next read an end of file; CRIU then rolls back and exits. */
  dismiss(): void {
    this.#socket?.shutdown('write');
  }

  /** True if the kernel has reported the exit of the process; messages from the engine prove nothing. */
  get gone(): boolean {
    return this.#exit !== undefined;
  }

  /**
   * Calls with its pid, which names the engine, or its zombie, until the promise is settled: an engine that this service has started
   * is reaped afterwards. systemd reaps an engine of an earlier start at any time.
   * @throws Error if it has gone.
   */
  async withPid<T>(use: (pid: number, isThere: () => boolean) => Promise<T>): Promise<T> {
    const isThere = (): boolean => this.#exit === undefined && native.isAlive(this.#process.pidfd);
    if (!this.#process.keepPid() || !isThere()) {
      this.#process.releasePid();
      throw new Error('The engine has ended');
    }
    try {
      return await use(this.pid, isThere);
    } finally {
      this.#process.releasePid();
    }
  }

  /** SIGKILL, for an engine that has sent its final message and does not exit. */
  kill(): void {
    if (!this.#exit) this.#process.signal(os.signals.SIGKILL);
  }

  /** Another request begins. */
  turnPage(): void {
    if (!this.#exit) this.#stderr.turnPage();
  }

  /** The last lines on its stderr about the present request; a user without root may write anything there. */
  get lastWords(): readonly string[] {
    return this.#lastWords ?? this.#stderr.tail();
  }

  /**
   * CRIU without a log keeps its lines to itself until it exits, which comes after its final reply (flush_early_log_to_stderr).
   * @returns the last lines, once there are any or the engine has exited, at the latest after {@link lateWordsMs}.
   */
  async lateWords(): Promise<readonly string[]> {
    if (this.lastWords.length === 0 && !this.gone) {
      const exit = new Promise<void>((resolve) => this.#onceGone.push(resolve));
      await within(lateWordsMs, exit, () => {});
    }
    return this.lastWords;
  }

  /**
   * Makes the kernel refuse descriptors at their sender (Linux 6.16). On older kernels, and for queued messages, descriptors are
   * checked on receipt.
   */
  refuseDescriptors(): void {
    this.#socket?.refuseFds();
  }

  /** The owner is done with the delivered message, and can take the next. */
  resume(): void {
    if (!this.#paused || this.#ended) return;
    this.#paused = false;
    if (this.#delivering) return;
    this.#take();
    if (this.#exit) this.#drain();
    else this.#watch();
  }

  /** The descriptors that a session needs to keep the engine across a restart of this service. */
  get fds(): {
    readonly pidfd: OwnedFd;
    readonly stderr: OwnedFd;
    readonly socket: SeqpacketSocket | undefined;
  } {
    return { pidfd: this.#process.pidfd, stderr: this.#stderr.fd, socket: this.#socket };
  }

  #watch(): void {
    this.#socket?.watch(Watch.readable, () => this.#readOne());
  }

  /**
   * A message is delivered first, which may take time, and taken from the queue afterwards: if this service is killed between the
   * two, its next start finds the message there. A message with descriptors must be taken first.
   */
  #readOne(): boolean {
    const socket = this.#socket;
    const next = this.#receive();
    if (!next) return false;
    this.#paused = true;
    socket?.watch(0);
    this.#untaken = next.taken ? undefined : socket;
    this.#delivering = true;
    this.#events.onMessage(next.packet, this);
    this.#delivering = false;
    if (this.#paused) return true;
    this.#take();
    if (!this.#exit) this.#watch();
    return true;
  }

  #take(): void {
    const socket = this.#untaken;
    this.#untaken = undefined;
    try {
      if (socket && socket.fd >= 0) socket.discard();
    } catch {
      // The next read reports the error.
    }
  }

  #receive(): { readonly packet: Packet; readonly taken: boolean } | undefined {
    const socket = this.#socket;
    if (!socket) return undefined;
    try {
      const head = socket.peek(maxPacketBytes);
      if (head.kind === 'end') this.#hangup();
      else if (head.kind === 'packet' && head.data !== undefined && !socket.headCarriesFds()) {
        return { packet: { data: head.data, fds: [] }, taken: false };
      } else if (this.#confined && head.kind !== 'nothing') {
        return this.#receiveTerminal(this.#confined, socket, head);
      } else {
        const packet = socket.receive(maxPacketBytes);
        return packet && { packet, taken: true };
      }
    } catch {
      // A connection that cannot be read has no further message; the exit will say more.
      this.#hangup();
    }
    return undefined;
  }

  /**
   * A descriptor from a confined engine may be any file of its caller's, and closing it may block for as long as the caller
   * likes. So only an expected terminal leaves the queue. Anything else is closed together with the socket, on another thread.
   */
  #receiveTerminal(
    events: ConfinedEngineEvents,
    socket: SeqpacketSocket,
    head: Peeked,
  ): { readonly packet: Packet; readonly taken: boolean } | undefined {
    const data = head.kind === 'packet' ? head.data : undefined;
    const carries = socket.headCarriesFds();
    const terminal = data && carries && events.expectsTerminal(data) ? socket.headTerminal() : undefined;
    if (data && terminal) {
      this.#consume(socket);
      return { packet: { data, fds: [terminal] }, taken: true };
    }
    this.#closeSocket();
    const reason = carries ? 'sent a descriptor that is not due' : 'sent what is no criu_resp';
    events.onLie(reason, this);
    return undefined;
  }

  /** Consumes the message. The terminal is open here, too, so dropping this copy is not its last close. */
  #consume(socket: SeqpacketSocket): void {
    try {
      socket.receive(0, 0);
    } catch {
      // The message was longer than the buffer; it is consumed all the same.
    }
  }

  #closeSocket(): void {
    if (this.#socket) closeSocket(this.#socket);
    this.#socket = undefined;
  }

  #hangup(): void {
    this.#leftUnread = this.#socket?.peerLeftUnread ?? false;
    this.#closeSocket();
    this.#events.onHangup(this);
  }

  /** After the exit of the process: delivers queued messages first, then the end. */
  #drain(): void {
    while (!this.#paused && this.#readOne());
    if (this.#paused || this.#ended || !this.#exit) return;
    this.#ended = true;
    this.#closeSocket();
    this.#lastWords = this.#exit.how === 'success' ? [] : this.#stderr.tail();
    this.#stderr.close();
    this.#events.onEnd(this.#exit, this);
  }

  #describe(status: ExitStatus): EngineExit {
    if (status.kind === 'exited' && status.code === 0) {
      return { how: 'success', reason: 'The engine left without a reply' };
    }
    const last = this.lastWords.at(-1);
    const words = last === undefined ? '' : `; its last words: ${last}`;
    switch (status.kind) {
      case 'exited':
        return {
          how: 'failure',
          reason: `The engine left with status ${status.code} and without a reply${words}`,
        };
      case 'signalled':
        return { how: 'lost', reason: `The engine was ended by signal ${status.signal}${words}` };
      case 'unknown':
        return { how: 'unknown', reason: `The engine ended without a reply${words}` };
    }
  }
}
