/**
 * The caller's side of a session: the socket, the events that it is watched for, and the outbox.
 *
 * Backpressure: if the caller's queue is full, one message is buffered, and the session sends no more until {@link full} is false
 * again. Messages for a caller that has left are dropped, as on any connection.
 */
import { constants as os } from 'node:os';
import { native, type OwnedFd, type SeqpacketSocket, Watch } from '../../native/binding.ts';
import { closeSocket } from '../../native/close-socket.ts';
import type { Caller } from '../../proc/caller.ts';
import { HandedOver } from './handed-over.ts';

interface Message {
  readonly data: Uint8Array;
  readonly fds: readonly OwnedFd[];
}

export interface ConnectionEvents {
  /** A packet or the end of the connection can be read; only while listening. */
  onReadable(): void;
  /** The caller has closed the connection or its sending half; once, and only while not listening. */
  onEnd(): void;
  /** The socket cannot be watched. Treat this as the end of the connection. */
  onUnwatched(error: unknown): void;
  /** The outbox was full and is empty now. */
  onRoom(): void;
}

export interface CallerPacket {
  readonly data: Buffer;
  /** Another process than the one that connected has sent it. */
  readonly passedOn: boolean;
}

/** The head of the caller's queue. `malformed`: a packet that cannot be a request, whatever its bytes say. */
export type Head =
  | { readonly kind: 'nothing' | 'end' }
  | ({ readonly kind: 'packet' } & CallerPacket)
  | { readonly kind: 'malformed'; readonly errno: number; readonly reason: string };

function malformed(errno: number, reason: string): Head {
  return { kind: 'malformed', errno, reason };
}

const { EINVAL, EMSGSIZE, EPERM } = os.errno;

/** The time for a caller to read the last messages before the connection is closed. */
const closeGraceMs = 10_000;

export class CallerConnection {
  readonly #events: ConnectionEvents;
  readonly #maxPacketBytes: number;
  /** Undefined once the socket is closed or handed over. */
  #socket: SeqpacketSocket | undefined;
  /** Our copy of the connection, after an engine has got it. */
  #handedOver: HandedOver | undefined;
  #interest = 0;
  /** A change of the watched events is pending for the end of this turn of the event loop. */
  #rewatches = false;
  readonly #queue: Message[] = [];
  #blocked = false;
  #closing = false;
  #grace: NodeJS.Timeout | undefined;
  #onClosed: (() => void) | undefined;

  /** Takes over `socket`. */
  constructor(socket: SeqpacketSocket, maxPacketBytes: number, events: ConnectionEvents) {
    this.#socket = socket;
    this.#maxPacketBytes = maxPacketBytes;
    this.#events = events;
  }

  /** A copy of the connection's descriptor, for systemd's store. */
  copy(): OwnedFd | undefined {
    const handedOver = this.#handedOver?.fd;
    return handedOver ? native.duplicate(handedOver) : this.#socket?.copy();
  }

  get socket(): SeqpacketSocket | undefined {
    return this.#socket;
  }

  /** True once the socket is closed or handed over. */
  get closed(): boolean {
    return this.#socket === undefined;
  }

  /** True while a message waits for room. */
  get full(): boolean {
    return this.#blocked;
  }

  listen(): void {
    this.#interest = Watch.readable;
    this.#watch();
  }

  /** Watches for the end only. Polling is level-triggered: a packet that stays unread would be reported again and again. */
  stopListening(): void {
    this.#interest = Watch.disconnect;
    this.#watch();
  }

  /** Peeks at the head of the queue. */
  head(): Head {
    const head = this.#socket?.peek(this.#maxPacketBytes) ?? { kind: 'end' };
    if (head.kind === 'nothing' || head.kind === 'end') return head;
    if (this.headCarriesFds) {
      return malformed(
        EINVAL,
        'This packet carries descriptors; a request names those of its caller by their numbers',
      );
    }
    // A connection carries the authority of the process that made it. Another user who got the descriptor must not use that.
    if (head.foreign) {
      return malformed(EPERM, 'This packet was sent by another user or group than has made this connection');
    }
    if (head.kind === 'empty-packet') return malformed(EINVAL, 'An empty packet is no request');
    return head.data
      ? { kind: 'packet', data: head.data, passedOn: head.passedOn === true }
      : malformed(
          EMSGSIZE,
          `A packet of ${head.size} bytes is too large: the limit is ${this.#maxPacketBytes}`,
        );
  }

  /** True if the packet at the head carries descriptors. A request never does: CRIU receives none from its client. */
  get headCarriesFds(): boolean {
    return this.#socket?.headCarriesFds() ?? false;
  }

  /**
   * Consumes the packet at the head, unless it carries descriptors: receiving would install them, and closing a descriptor can
   * block for as long as its owner likes. Such a packet stays in the queue until the connection ends.
   */
  discard(): void {
    try {
      this.#socket?.discard();
    } catch {
      // The connection failed: it has nothing left to read.
    }
  }

  /** Sends now, or as soon as there is room. Takes over `fds`. */
  send(data: Uint8Array, fds: readonly OwnedFd[] = []): void {
    this.#queue.push({ data, fds });
    if (!this.#blocked) this.#flush();
  }

  /** Sends a reply of the service's own. After a hand-over, call this only when the engine has gone. */
  reply(data: Uint8Array): void {
    if (this.#handedOver) this.#handedOver.reply(data);
    else this.send(data);
  }

  /**
   * Leaves the connection to an engine, in blocking mode, with the packet still in its queue. Nothing more is read from it.
   * @returns the descriptor, to be copied; it stays open for {@link reply}.
   */
  handOver(): OwnedFd {
    const socket = this.#socket;
    if (!socket) throw new Error('The connection is closed');
    this.#socket = undefined;
    const fd = socket.release();
    this.#handedOver = new HandedOver(fd);
    return fd;
  }

  /** After a hand-over: keeps the connection open for the engine's reply, even if the caller ends with the dump. */
  async holdCallersEnd(caller: Caller): Promise<void> {
    await this.#handedOver?.holdCallersEnd(caller);
  }

  /** After a hand-over: the message that the caller has yet to read. */
  get answer(): Buffer | undefined {
    return this.#handedOver?.answer;
  }

  /** True while the last message of a hand-over's engine waits unread in the caller's queue. */
  get isAnswered(): boolean {
    return this.#handedOver?.isAnswered ?? false;
  }

  /** Closes the connection when the outbox is empty or lost, then calls back. */
  close(onClosed: () => void): void {
    this.#handedOver?.close();
    if (this.closed) {
      onClosed();
      return;
    }
    if (this.#closing) return;
    this.#onClosed = onClosed;
    this.#closing = true;
    this.#interest = 0;
    if (!this.#blocked) {
      this.#shut();
      return;
    }
    this.#watch();
    this.#grace = setTimeout(() => this.#shut(), closeGraceMs);
  }

  /** Sets up the poll in a microtask: many sessions are over before that, and a poll costs a dozen system calls. */
  #watch(): void {
    if (this.#rewatches) return;
    this.#rewatches = true;
    queueMicrotask(() => {
      this.#rewatches = false;
      try {
        this.#watchNow();
      } catch (error) {
        // ENOSPC or ENOMEM of epoll_ctl(2): the socket would never report anything.
        this.#interest = 0;
        if (!this.#closing) this.#events.onUnwatched(error);
      }
    });
  }

  #watchNow(): void {
    const socket = this.#socket;
    if (!socket) return;
    const events = this.#interest | (this.#blocked ? Watch.writable : 0);
    if (events === 0) {
      socket.watch(0);
      return;
    }
    socket.watch(events, (came, error) => {
      // An error is an end of the connection with messages of ours unread. Packets in our queue still count.
      if (this.#blocked && (error || came & Watch.writable)) this.#flush();
      if (this.#socket !== socket || this.#interest === 0) return;
      if (this.#interest === Watch.readable) {
        if (error) this.#watch();
        if (error || came & Watch.readable) this.#events.onReadable();
      } else if (error || came & Watch.disconnect) {
        this.#interest = 0;
        this.#watch();
        this.#events.onEnd();
      }
    });
  }

  #flush(): void {
    for (let message = this.#queue[0]; message; message = this.#queue[0]) {
      if (!this.#trySend(message)) {
        if (!this.#blocked) {
          this.#blocked = true;
          this.#watch();
        }
        return;
      }
      this.#queue.shift();
      for (const fd of message.fds) fd.close();
    }
    if (this.#blocked) {
      this.#blocked = false;
      this.#watch();
      if (!this.#closing) this.#events.onRoom();
    }
    if (this.#closing) this.#shut();
  }

  #trySend(message: Message): boolean {
    try {
      return this.#socket?.send(message.data, message.fds) ?? true;
    } catch {
      // EPIPE, ECONNRESET: the caller has left, so drop the message.
      return true;
    }
  }

  #shut(): void {
    clearTimeout(this.#grace);
    const onClosed = this.#onClosed;
    this.#onClosed = undefined;
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) fd.close();
    if (this.#socket) closeSocket(this.#socket);
    this.#socket = undefined;
    onClosed?.();
  }
}
