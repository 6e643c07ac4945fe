/**
 * Connections that are not served: each gets its one reply and is closed, without becoming a session.
 *
 * A client that is only about to send its request would find the connection closed (EPIPE, and SIGPIPE in a C program that
 * does not expect it), so the receiving side stays open for a moment, as long as not too many do.
 */

import { type SeqpacketSocket, Watch } from '../native/binding.ts';
import { closeSocket } from '../native/close-socket.ts';
import { encodeResponse } from '../protocol/codec.ts';
import { invalid } from '../protocol/replies.ts';

/** How long such a connection waits for the request that it does not serve. */
const graceMs = 1000;

/** How many wait; those beyond are closed at once. */
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

  /** Nobody is waited for any more. */
  close(): void {
    for (const socket of [...this.#waiting.keys()]) this.#close(socket);
  }

  #close(socket: SeqpacketSocket): void {
    clearTimeout(this.#waiting.get(socket));
    this.#waiting.delete(socket);
    closeSocket(socket);
  }
}
