/**
 * The service's copies of a connection that an engine owns. If that engine dies, the service sends the one reply itself.
 *
 * A caller that asks by its own pid, or by that of an ancestor, ends with a successful dump, before CRIU replies. The reply would
 * fail then, and CRIU would exit as after a failed dump. A copy of the caller's end keeps the connection open until then.
 */
import { native, type OwnedFd } from '../../native/binding.ts';
import { closeSocket } from '../../native/close-socket.ts';
import { maxPacketBytes } from '../../native/limits.ts';
import type { Caller } from '../../proc/caller.ts';

/** The caller's descriptors cannot be read while it executes a program, and it could make that last. */
const patienceMs = 10_000;

/**
 * Threads that copy at this moment, by the uid of their callers. While that of a user hangs, no other is risked for this user, so
 * that a user holds up one thread and its descriptors.
 */
const copying = new Map<number, Promise<void>>();

/** Threads of all users together. */
const mostCopying = 256;

export class HandedOver {
  #fd: OwnedFd | undefined;
  #callersEnd: OwnedFd | undefined;

  /** Takes over `fd`. */
  constructor(fd: OwnedFd) {
    this.#fd = fd;
  }

  /** Undefined after close. */
  get fd(): OwnedFd | undefined {
    return this.#fd;
  }

  /** Takes a copy of the caller's end. Without it, the dump is served all the same. */
  async holdCallersEnd(caller: Caller): Promise<void> {
    const { uid } = caller.identity;
    let late = false;
    let timer: NodeJS.Timeout | undefined;
    const waited = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        late = true;
        resolve();
      }, patienceMs);
    });
    try {
      for (let other = copying.get(uid); other && !late; other = copying.get(uid))
        await Promise.race([other, waited]);
      if (late || !this.#fd || copying.size >= mostCopying) return;
      const copied = native.peersEnd(this.#fd, caller.pidfd, caller.directory).then((copy) => {
        if (late || !this.#fd) copy?.close();
        else this.#callersEnd = copy;
      });
      const over = copied
        .catch(() => {})
        .then(() => {
          copying.delete(uid);
        });
      copying.set(uid, over);
      await Promise.race([copied, waited]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The message at the head of the caller's queue, which stays there. */
  get answer(): Buffer | undefined {
    return this.#callersEnd && native.headOf(this.#callersEnd, maxPacketBytes);
  }

  /** True while the engine's last message waits unread in the caller's queue. */
  get isAnswered(): boolean {
    return this.#fd !== undefined && native.unreadByPeer(this.#fd);
  }

  /** Sends one reply and closes. Call this only when the engine has gone: then no other process writes to the connection. */
  reply(bytes: Uint8Array): void {
    if (!this.#fd) return;
    this.#dropCallersEnd();
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
    this.#dropCallersEnd();
    if (this.#fd) closeSocket(native.adopt(this.#fd));
    this.#fd = undefined;
  }

  #dropCallersEnd(): void {
    this.#callersEnd?.close();
    this.#callersEnd = undefined;
  }
}
