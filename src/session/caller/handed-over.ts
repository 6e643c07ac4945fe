/** The service's copy of a connection that an engine owns. If that engine dies, the service sends the one reply itself. */
import { native, type OwnedFd } from '../../native/binding.ts';
import { closeSocket } from '../../native/close-socket.ts';

export class HandedOver {
  #fd: OwnedFd | undefined;

  /** Takes over `fd`. */
  constructor(fd: OwnedFd) {
    this.#fd = fd;
  }

  /** Undefined after close. */
  get fd(): OwnedFd | undefined {
    return this.#fd;
  }

  /** True while the engine's last message waits unread in the caller's queue. */
  get isAnswered(): boolean {
    return this.#fd !== undefined && native.unreadByPeer(this.#fd);
  }

  /** Sends one reply and closes. Call this only when the engine has gone: then no other process writes to the connection. */
  reply(bytes: Uint8Array): void {
    if (!this.#fd) return;
    const socket = native.adopt(this.#fd);
    this.#fd = undefined;
    try {
      // An unread request would turn the close into a reset, which overtakes the reply. Discard it first.
      socket.discard();
      socket.send(bytes);
    } catch {
      // The caller has left.
    } finally {
      closeSocket(socket);
    }
  }

  close(): void {
    if (this.#fd) closeSocket(native.adopt(this.#fd));
    this.#fd = undefined;
  }
}
