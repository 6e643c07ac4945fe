/** The two ways to reach an engine: a service's socket, or a private `criu swrk`. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Engine } from '../engine/engine.ts';
import { startRelayedEngine, umaskFor } from '../engine/privileged.ts';
import {
  type NativeError,
  native,
  type OwnedFd,
  type Packet,
  type SeqpacketSocket,
  Watch,
} from '../native/binding.ts';
import { maxPacketBytes } from '../native/limits.ts';
import { ownCopy } from '../native/own-copy.ts';
import type { ReqType } from '../protocol/messages.ts';
import { abortError, CriuError } from './criu-error.ts';

/** Time for a busy service to accept. */
const connectPatienceMs = 10_000;

/** One connection, with one owner. */
export interface Connection {
  /** @throws CriuError `CLOSED` */
  send(data: Uint8Array): void;
  /** The next packet, whose descriptors belong to the receiver; undefined at the end. At most one call at a time. */
  receive(): Promise<Packet | undefined>;
  /** The end of the other side in words, if known. */
  readonly lastWords: string | undefined;
  /**
   * The other side has closed without reading the first message. Then nothing was begun, and the message may be sent again. The
   * kernel reports this by a reset (unix_release_sock in net/unix/af_unix.c).
   */
  readonly leftUnread: boolean;
  /** The uid of the process that listens there; undefined for a private engine. */
  readonly serverUid: number | undefined;
  /** The other side reads an end of file, and can still reply. */
  endSending(): void;
  /** A pending receive() gets undefined. CRIU reads an end of file where it waits for an answer, and rolls back. */
  close(): void;
}

/** Queues packets for the current or the next receive(). */
class Inbox {
  #waiting: ((packet: Packet | undefined) => void) | undefined;
  #kept: Packet | undefined;
  #ended = false;

  put(packet: Packet): void {
    if (this.#waiting) this.#hand(packet);
    else if (this.#ended) for (const fd of packet.fds) fd.close();
    else this.#kept = packet;
  }

  end(): void {
    this.#ended = true;
    if (this.#waiting) this.#hand(undefined);
  }

  take(): Promise<Packet | undefined> {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept || this.#ended) return Promise.resolve(kept);
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  #hand(packet: Packet | undefined): void {
    const waiting = this.#waiting!;
    this.#waiting = undefined;
    waiting(packet);
  }
}

/** @throws CriuError `UNREACHABLE`, `ABORTED` */
export async function connect(address: string, signal?: AbortSignal): Promise<Connection> {
  for (const start = Date.now(); ; ) {
    try {
      return new ServiceConnection(native.connect(address));
    } catch (error) {
      const { code, errno, message } = error as NativeError;
      // The backlog is full for a moment. connect(2) on a Unix socket does not wait for room.
      if (code === 'EAGAIN' && Date.now() - start < connectPatienceMs) {
        await delay(10);
        if (signal?.aborted) throw abortError(signal);
        continue;
      }
      throw new CriuError('UNREACHABLE', `Cannot connect to ${address}: ${message}`, { errno, cause: error });
    }
  }
}

class ServiceConnection implements Connection {
  readonly lastWords = undefined;
  leftUnread = false;
  #hasHeard = false;
  readonly #socket: SeqpacketSocket;
  readonly #inbox = new Inbox();

  constructor(socket: SeqpacketSocket) {
    this.#socket = socket;
  }

  get serverUid(): number {
    return this.#socket.peerCredentials().uid;
  }

  endSending(): void {
    this.#socket.shutdown('write');
  }

  send(data: Uint8Array): void {
    try {
      if (this.#socket.send(data)) return;
    } catch (error) {
      this.leftUnread = !this.#hasHeard;
      throw new CriuError('CLOSED', 'The service has closed the connection', { cause: error });
    }
    // The service reads each message before the next is sent, so there is room, unless it never reads.
    throw new CriuError('CLOSED', 'The service does not read from the connection');
  }

  receive(): Promise<Packet | undefined> {
    if (this.#socket.fd === -1) return Promise.resolve(undefined);
    this.#socket.watch(Watch.readable, () => {
      this.#socket.watch(0);
      const packet = this.#read();
      if (packet) this.#inbox.put(packet);
      else this.#inbox.end();
    });
    return this.#inbox.take();
  }

  close(): void {
    this.#socket.close();
    this.#inbox.end();
  }

  #read(): Packet | undefined {
    try {
      const packet = this.#socket.receive(maxPacketBytes);
      this.#hasHeard ||= packet !== undefined;
      this.leftUnread = !this.#hasHeard && this.#socket.peerLeftUnread;
      return packet;
    } catch {
      return undefined;
    }
  }
}

/**
 * @param criu an absolute path; default: criu in the system's directories.
 * @param type of the first request.
 * @param fds numbers in this process that the request names as the engine's own (`inheritFd`, `ps.fd`).
 * @throws CriuError `UNREACHABLE`, `INVALID`
 */
export function startChild(criu: string | undefined, type: ReqType, fds: readonly number[]): Connection {
  const copies: { source: OwnedFd; target: number }[] = [];
  try {
    for (const target of new Set(fds)) copies.push({ source: copyOf(target), target });
    return new ChildConnection(criu, type, copies);
  } catch (error) {
    if (error instanceof CriuError) throw error;
    const { errno, message } = error as NodeJS.ErrnoException;
    throw new CriuError('UNREACHABLE', `Cannot start criu: ${message}`, {
      errno: Math.abs(errno ?? 0),
      cause: error,
    });
  } finally {
    for (const { source } of copies) source.close();
  }
}

function copyOf(number: number): OwnedFd {
  try {
    return ownCopy(number);
  } catch (error) {
    throw new CriuError('INVALID', `${number} is no open descriptor`, { cause: error });
  }
}

class ChildConnection implements Connection {
  lastWords: string | undefined;
  /** Always false: a private engine that exits without reading its request has a reason that a second engine would share. */
  readonly leftUnread = false;
  readonly serverUid = undefined;
  readonly #inbox = new Inbox();
  readonly #engine: Engine;

  constructor(criu: string | undefined, type: ReqType, fds: readonly { source: OwnedFd; target: number }[]) {
    this.#engine = startRelayedEngine({ criu }, umaskFor(type), fds, {
      onMessage: (packet) => this.#inbox.put(packet),
      onHangup: () => {},
      onEnd: ({ reason }) => {
        this.lastWords = reason;
        this.#inbox.end();
      },
    });
  }

  send(data: Uint8Array): void {
    // If the engine has exited, the reader gets its last words at the end of the packets.
    this.#engine.send(data);
  }

  receive(): Promise<Packet | undefined> {
    const packet = this.#inbox.take();
    this.#engine.resume();
    return packet;
  }

  endSending(): void {
    this.#engine.dismiss();
  }

  close(): void {
    this.#engine.dismiss();
    this.#engine.resume();
    this.#inbox.end();
  }
}
