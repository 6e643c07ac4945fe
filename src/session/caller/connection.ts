/**
 * The caller's side of a session: one socket, what it is watched for, and what waits to go out.
 *
 * One message is buffered when the caller's queue is full; whoever sends more waits until {@link full} is false again. A caller
 * that has left loses what was for it, as on any connection.
 */
import { constants as os } from 'node:os';
import { type OwnedFd, type SeqpacketSocket, Watch } from '../../native/binding.ts';
import { closeSocket } from '../../native/close-socket.ts';

interface Message {
  readonly data: Uint8Array;
  readonly fds: readonly OwnedFd[];
}

export interface ConnectionEvents {
  /** A packet, or the end, waits to be looked at; only while listening. */
  onReadable(): void;
  /** The caller has closed the connection or its sending half; once, and only while not listening. */
  onEnd(): void;
  /** It cannot be watched, so that this is its end. */
  onUnwatched(error: unknown): void;
  /** The outbox was full and is empty now. */
  onRoom(): void;
}

/** What waits at the head of the caller's queue; `malformed` is what cannot be a request, whatever it says. */
export type Head =
  | { readonly kind: 'nothing' | 'end' }
  | { readonly kind: 'packet'; readonly data: Buffer }
  | { readonly kind: 'malformed'; readonly errno: number; readonly reason: string };

function malformed(errno: number, reason: string): Head {
  return { kind: 'malformed', errno, reason };
}

const { EINVAL, EMSGSIZE, EPERM } = os.errno;

/** How long a caller that does not read may take for what is left to be read. */
const closeGraceMs = 10_000;

export class CallerConnection {
  readonly #events: ConnectionEvents;
  readonly #maxPacketBytes: number;
  #socket: SeqpacketSocket | undefined;
  #interest = 0;
  /** What it is watched for is to be changed when everybody has had their say. */
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

  /** A copy of its descriptor, for whoever keeps it. */
  copy(): OwnedFd | undefined {
    return this.#socket?.copy();
  }

  get socket(): SeqpacketSocket | undefined {
    return this.#socket;
  }

  /** True once the socket is closed or given away. */
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

  /** Polling is level-triggered: a packet that is to wait unread must not be reported over and over, so only the end is watched for. */
  stopListening(): void {
    this.#interest = Watch.disconnect;
    this.#watch();
  }

  /** The head of the queue, which stays there. */
  head(): Head {
    const head = this.#socket?.peek(this.#maxPacketBytes) ?? { kind: 'end' };
    if (head.kind === 'nothing' || head.kind === 'end') return head;
    if (this.headCarriesFds) {
      return malformed(
        EINVAL,
        'This packet carries descriptors; a request names those of its caller by their numbers',
      );
    }
    // A connection is its maker's authority, and whoever got hold of it has none of that.
    if (head.foreign) {
      return malformed(EPERM, 'This packet was sent by another user or group than has made this connection');
    }
    if (head.kind === 'empty-packet') return malformed(EINVAL, 'An empty packet is no request');
    return head.data
      ? { kind: 'packet', data: head.data }
      : malformed(
          EMSGSIZE,
          `A packet of ${head.size} bytes is too large: the limit is ${this.#maxPacketBytes}`,
        );
  }

  /** True when the packet at the head carries descriptors, which no request does: CRIU reads none from its client. */
  get headCarriesFds(): boolean {
    return this.#socket?.headCarriesFds() ?? false;
  }

  /**
   * Consumes the packet at the head, unless it carries descriptors: receiving installs them, and closing one may block for as
   * long as its owner likes. Such a packet stays where it is, and ends with the connection.
   */
  discard(): void {
    try {
      this.#socket?.discard();
    } catch {
      // There is nothing to be read from it any more.
    }
  }

  /** Sends now, or as soon as there is room. Takes over `fds`. */
  send(data: Uint8Array, fds: readonly OwnedFd[] = []): void {
    this.#queue.push({ data, fds });
    if (!this.#blocked) this.#flush();
  }

  /** Gives the fd away, blocking, with the packet still in its queue. */
  release(): OwnedFd {
    const socket = this.#socket;
    if (!socket) throw new Error('The connection is closed');
    this.#socket = undefined;
    return socket.release();
  }

  /** Closes once everything is out, or lost; calls back then. */
  close(onClosed: () => void): void {
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

  /** Later: many a session is over before it comes to that, and a poll is a dozen system calls. */
  #watch(): void {
    if (this.#rewatches) return;
    this.#rewatches = true;
    queueMicrotask(() => {
      this.#rewatches = false;
      try {
        this.#watchNow();
      } catch (error) {
        // ENOSPC, ENOMEM of epoll_ctl(2): nothing would ever be heard of it.
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
      // An error is an end with something left unread: what is queued for us still counts.
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
      // EPIPE, ECONNRESET: the caller has left, and with it everybody who would read this.
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
