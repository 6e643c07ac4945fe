/** Packets of one connection between a holder of a terminal and criuctl. */
import { native, type OwnedFd, type SeqpacketSocket, Watch } from '../../native/binding.ts';
import {
  decodeHolderMessage,
  encodeHolderMessage,
  type HolderMessage,
  mostPacketBytes,
} from './holder-messages.ts';

export interface Received extends HolderMessage {
  /** The receiver owns them. */
  readonly fds: readonly OwnedFd[];
}

/** A terminal, and the file that its output is written to, if any. */
const mostFds = 2;

export class HolderConnection {
  readonly #socket: SeqpacketSocket;

  /** @throws NativeError */
  static to(path: string): HolderConnection {
    return new HolderConnection(native.connect(path));
  }

  constructor(socket: SeqpacketSocket) {
    this.#socket = socket;
  }

  get peer(): { readonly pid: number; readonly uid: number } {
    return this.#socket.peerCredentials();
  }

  /** @throws NativeError if the other side has gone. Nobody sends more than two packets, so there is always room. */
  send(message: HolderMessage, fds: readonly OwnedFd[] = []): void {
    this.#socket.send(encodeHolderMessage(message), fds);
  }

  /** The next packet; undefined at the end, and for anything that is no packet of these. One call at a time. */
  next(): Promise<Received | undefined> {
    return new Promise((resolve) => {
      this.#socket.watch(Watch.readable, () => {
        this.#socket.watch(0);
        resolve(this.#read());
      });
    });
  }

  close(): void {
    this.#socket.close();
  }

  #read(): Received | undefined {
    try {
      const packet = this.#socket.receive(mostPacketBytes, mostFds);
      const message = packet && decodeHolderMessage(packet.data);
      if (message) return { ...message, fds: packet!.fds };
      for (const fd of packet?.fds ?? []) fd.close();
    } catch {
      // The other side has gone, or is none of ours.
    }
    return undefined;
  }
}
