/** A raw client: packets in, packets out. */

import { native, type Packet, type SeqpacketSocket, Watch } from '../../../src/native/binding.ts';
import { decodeResponse, encodeRequest, encodeResponse } from '../../../src/protocol/codec.ts';
import type { CriuReq, CriuResp } from '../../../src/protocol/messages.ts';

export type Received = { reply: CriuResp; fds: number } | 'closed';

export class Client {
  readonly #socket: SeqpacketSocket;

  /** @param to an address, or a connection. */
  constructor(to: string | SeqpacketSocket) {
    this.#socket = typeof to === 'string' ? native.connect(to) : to;
  }

  send(message: CriuReq): this {
    return this.sendBytes(encodeRequest(message));
  }

  sendBytes(bytes: Uint8Array): this {
    if (!this.#socket.send(bytes)) throw new Error('The queue of the service is full');
    return this;
  }

  /** The next packet, or `closed`; a connection that is reset counts as closed. */
  async next(): Promise<Received> {
    const packet = await this.#packet();
    if (!packet) return 'closed';
    for (const fd of packet.fds) fd.close();
    const decoded = decodeResponse(packet.data, 'strict');
    if (decoded.kind === 'malformed') throw new Error(decoded.reason);
    // Plain objects can be compared in assertions.
    return { reply: JSON.parse(JSON.stringify(decoded.message)), fds: packet.fds.length };
  }

  /** All replies until the connection is closed. */
  async all(): Promise<CriuResp[]> {
    const replies: CriuResp[] = [];
    for (let got = await this.next(); got !== 'closed'; got = await this.next()) replies.push(got.reply);
    this.close();
    return replies;
  }

  /** Sends a request and returns its reply; any other number of replies is an error. */
  async ask(message: CriuReq): Promise<CriuResp> {
    const replies = await this.send(message).all();
    if (replies.length !== 1) throw new Error(`${replies.length} replies instead of one`);
    return replies[0]!;
  }

  shutdownWrite(): void {
    this.#socket.shutdown('write');
  }

  close(): void {
    this.#socket.close();
  }

  #packet(): Promise<Packet | undefined> {
    return new Promise((resolve, reject) => {
      this.#socket.watch(Watch.readable, () => {
        this.#socket.watch(0);
        try {
          resolve(this.#socket.receive(1 << 20));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') resolve(undefined);
          else reject(error);
        }
      });
    });
  }
}

/** A step of a script: the engine sends this message. */
export function sends(message: CriuResp, withFd = false): string {
  return `${withFd ? 'send-fd' : 'send'} ${encodeResponse(message).toString('hex')}`;
}
