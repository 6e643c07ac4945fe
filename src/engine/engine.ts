/**
 * One `criu swrk` process, held by its pidfd: its messages, its end, its last words. An engine is never killed by us:
 * one that is killed in the middle of a dump leaves its victim in whatever state it was.
 */
import { constants as os } from 'node:os';
import {
  type ExitStatus,
  type OwnedFd,
  type Packet,
  type Peeked,
  type Process,
  type SeqpacketSocket,
  Watch,
} from '../native/binding.ts';
import { closeSocket } from '../native/close-socket.ts';
import { maxPacketBytes } from '../native/limits.ts';
import { sleepsOn } from '../proc/sleeping.ts';
import type { StderrFile } from './stderr-file.ts';

/** The connection of an engine, in its own table: `criu swrk 3`. Another one where its request names this number (privileged.ts). */
export const usualConnection = 3;

/** How an engine ended; `lost` when a signal did it, `unknown` where it was no child of ours. */
export interface EngineExit {
  readonly how: 'success' | 'failure' | 'lost' | 'unknown';
  /** One sentence: the exit, and the last line on stderr where there is one. */
  readonly reason: string;
}

/** What its owner hears. Each call is made once at a time; `onEnd` is the last one. */
export interface EngineEvents {
  /** One message; the receiver owns its fds. No further one comes until {@link Engine.resume}. */
  onMessage(packet: Packet, engine: Engine): void;
  /** Its end of the connection is closed, though it may still run. */
  onHangup(engine: Engine): void;
  /** The process is gone and every message of it was delivered. */
  onEnd(exit: EngineExit, engine: Engine): void;
}

/** What the owner of an engine is asked and told whose messages are its caller's to write. */
export interface ConfinedEngineEvents extends EngineEvents {
  /** Whether this message, which carries something, is to carry the master of a terminal. */
  expectsTerminal(message: Buffer): boolean;
  /** It has sent what nothing may be done with, and its connection is closed. The reason continues a sentence about it. */
  onLie(reason: string, engine: Engine): void;
}

export class Engine {
  readonly pid: number;
  /** What it calls its connection. */
  readonly connection: number;
  readonly #process: Process;
  readonly #stderr: StderrFile;
  readonly #events: EngineEvents;
  /** Undefined for one of root's, whose messages are believed. */
  readonly #confined: ConfinedEngineEvents | undefined;
  /** Undefined for an engine that owns the caller's connection, and after the hang-up. */
  #socket: SeqpacketSocket | undefined;
  #leftUnread = false;
  #paused = false;
  #delivering = false;
  /** Where the message that was delivered last is still to be taken from. */
  #untaken: SeqpacketSocket | undefined;
  #exit: EngineExit | undefined;
  #ended = false;
  /** Its last lines on stderr, once it has ended. */
  #lastWords: readonly string[] | undefined;

  /** Takes over everything that it is given. @param confined for one that has become its caller. */
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
      if (!this.#paused) this.#drain();
    });
  }

  /** True while its end of the connection is open and nothing of it waits to be read. */
  get waits(): boolean {
    try {
      return this.#socket?.peek(0).kind === 'nothing';
    } catch {
      return false;
    }
  }

  /**
   * True while it sleeps in a read of its connection, whose queue is empty then, and has said nothing that waits to be heard. In
   * this order: one that answers and waits for the next request (keep_open, a pre-dump loop) between the two looks has said something.
   * Undefined where it cannot be known.
   */
  get sleepsReading(): boolean | undefined {
    // It has said something, or has left, and its pid may be somebody else's by now, whose reading waits for an execve(2) of theirs.
    if (!this.waits) return false;
    const sleeps = sleepsOn(this.pid, this.connection);
    return sleeps && this.waits;
  }

  /** True when its end of the connection was closed with a message of ours unread: it did nothing about that one. */
  get leftUnread(): boolean {
    return this.#leftUnread;
  }

  /**
   * Sends one message. The engine reads when it waits for one, and then its queue is empty.
   * @returns false when it cannot be delivered: the engine has gone, and its end will be reported.
   */
  send(data: Uint8Array): boolean {
    try {
      return this.#socket?.send(data) ?? false;
    } catch {
      return false;
    }
  }

  /** Its next read is an end of file, whereupon CRIU rolls back and leaves. */
  dismiss(): void {
    this.#socket?.shutdown('write');
  }

  /** The kernel has told that its process has ended: what it says itself proves nothing. */
  get gone(): boolean {
    return this.#exit !== undefined;
  }

  /** SIGKILL, for one that has said its last word and does not leave. */
  kill(): void {
    if (!this.#exit) this.#process.signal(os.signals.SIGKILL);
  }

  /** The last lines on its stderr; an engine of a user without root may write there what that user likes. */
  get lastWords(): readonly string[] {
    return this.#lastWords ?? this.#stderr.tail();
  }

  /** On Linux 6.16 the kernel refuses them at their sender; before, and what is there already, is looked at as it comes. */
  refuseDescriptors(): void {
    this.#socket?.refuseFds();
  }

  /** What was delivered has been dealt with, and the next message may come. */
  resume(): void {
    if (!this.#paused || this.#ended) return;
    this.#paused = false;
    if (this.#delivering) return;
    this.#take();
    if (this.#exit) this.#drain();
    else this.#watch();
  }

  /** What its session needs to hold it by after this service was started anew. */
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
   * A message is dealt with first, which may take its time, and taken from the queue then: a service that is gone between the two
   * finds it there when it is back. One with descriptors has to be taken first.
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
      // The next look at it says so.
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
   * What a confined engine sends may be anything of its caller's, and closing it may block for as long as that one likes. So
   * nothing else than a terminal, where one is due, ever leaves the queue: the rest is closed with it, on another thread.
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

  /** What it carries is open here, too, so that this is the last close of nothing. */
  #consume(socket: SeqpacketSocket): void {
    try {
      socket.receive(0, 0);
    } catch {
      // More than nothing: consumed all the same.
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

  /** The process has gone: what it left in the queue comes first, then its end. */
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
