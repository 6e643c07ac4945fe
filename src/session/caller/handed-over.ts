/** Our copy of a connection that an engine owns, for the one reply if that engine dies. */
import { native, type OwnedFd } from '../../native/binding.ts';
import { closeSocket } from '../../native/close-socket.ts';

export class HandedOver {
  #fd: OwnedFd | undefined;

  /** Takes over `fd`. */
  constructor(fd: OwnedFd) {
    this.#fd = fd;
  }

  /** Undefined once it is closed. */
  get fd(): OwnedFd | undefined {
    return this.#fd;
  }

  /** True while the caller has yet to read what its engine said last. */
  get isAnswered(): boolean {
    return this.#fd !== undefined && native.unreadByPeer(this.#fd);
  }

  /** The engine is gone, so the connection is ours alone again: one reply, and its end. */
  reply(bytes: Uint8Array): void {
    if (!this.#fd) return;
    const socket = native.adopt(this.#fd);
    this.#fd = undefined;
    try {
      // A request that no engine has read would turn the end of the connection into a reset, ahead of the reply.
      socket.discard();
      socket.send(bytes);
    } catch {
      // The caller has left meanwhile.
    } finally {
      closeSocket(socket);
    }
  }

  close(): void {
    if (this.#fd) closeSocket(native.adopt(this.#fd));
    this.#fd = undefined;
  }
}
