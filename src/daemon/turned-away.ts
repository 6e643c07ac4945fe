/**
 * Connections that are refused before they become a session: each gets one reply and is closed.
 *
 * If the client has yet to send its request, closing would give it EPIPE (and SIGPIPE, unless the program ignores that).
 * Therefore the receiving side stays open for a moment, for a limited number of connections.
 */

import { type SeqpacketSocket, Watch } from '../native/binding.ts';
import { closeSocket } from '../native/close-socket.ts';
import { encodeResponse } from '../protocol/codec.ts';
import { invalid } from '../protocol/replies.ts';

/** The time that such a connection stays open for its request. */
const graceMs = 1000;

/** The limit of open connections; any more are closed at once. */
const maxWaiting = 256;

export class TurnedAway {
  readonly #waiting = new Map<SeqpacketSocket, NodeJS.Timeout>();

  /** Takes over `socket`. @param errno positive. */
  add(socket: SeqpacketSocket, errno: number, reason: string): void {
    try {
      socket.send(encodeResponse(invalid(errno, reason)));
      socket.shutdown('write');
      if (socket.peek(0).kind === 'nothing' && this.#waiting.size < maxWaiting) {
        this.#waiting.set(
          socket,
          setTimeout(() => this.#close(socket), graceMs),
        );
        socket.watch(Watch.readable, () => this.#close(socket));
        return;
      }
    } catch {
      // The caller has left.
    }
    this.#close(socket);
  }

  /** Closes all of them now. */
  close(): void {
    for (const socket of [...this.#waiting.keys()]) this.#close(socket);
  }

  #close(socket: SeqpacketSocket): void {
    clearTimeout(this.#waiting.get(socket));
    this.#waiting.delete(socket);
    closeSocket(socket);
  }
}
