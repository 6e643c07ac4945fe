/** The end of the connection on which a program has started `criu swrk`. */
import { constants as os } from 'node:os';
import { type NativeError, native, type OwnedFd, type SeqpacketSocket, Watch } from '../native/binding.ts';
import { maxPacketBytes } from '../native/limits.ts';
import { ownCopy } from '../native/own-copy.ts';
import { Refused } from './refused.ts';

const unixFamily = 1;
const seqpacket = 5;

/** @throws Error with a sentence, unless the number is a connection as programs make it for `criu swrk`. */
export function adoptConnection(number: number): SeqpacketSocket {
  let copy: OwnedFd;
  try {
    copy = ownCopy(number);
  } catch {
    throw new Error(`${number} is no open descriptor`);
  }
  const is = native.describeSocket(copy);
  if (is?.family === unixFamily && is.type === seqpacket && !is.listening) return native.adopt(copy);
  copy.close();
  throw new Error(`descriptor ${number} is no end of a SEQPACKET socket pair (unix(7))`);
}

export class ClientEnd {
  readonly #socket: SeqpacketSocket;

  constructor(socket: SeqpacketSocket) {
    this.#socket = socket;
  }

  /** The next packet; undefined at the end. Rejects with Refused if it is too large. */
  async receive(): Promise<Buffer | undefined> {
    await this.#on(Watch.readable);
    try {
      const packet = this.#socket.receive(maxPacketBytes);
      for (const fd of packet?.fds ?? []) fd.close();
      return packet?.data;
    } catch (error) {
      const { code, errno, message } = error as NativeError;
      if (code === 'ECONNRESET') return undefined;
      if (code === 'EMSGSIZE')
        throw new Refused(os.errno.EMSGSIZE, `The request has more than ${maxPacketBytes} bytes`);
      throw new Refused(errno, `The request cannot be received: ${message}`);
    }
  }

  /** Waits for the end alone: an early packet stays in the queue. */
  async gone(): Promise<undefined> {
    await this.#on(Watch.disconnect);
    return undefined;
  }

  /** @returns false if the client has gone. */
  async send(data: Uint8Array, fds: readonly OwnedFd[] = []): Promise<boolean> {
    try {
      while (!this.#socket.send(data, fds)) await this.#on(Watch.writable);
      return true;
    } catch {
      return false;
    }
  }

  /** A later wait takes the place of an earlier wait, which never ends. */
  #on(events: number): Promise<void> {
    return new Promise((resolve) => {
      this.#socket.watch(events, () => {
        this.#socket.watch(0);
        resolve();
      });
    });
  }
}
