/** A raw client: packets in, packets out. */
import { closeSync, constants, openSync } from 'node:fs';
import { native, type Packet, type SeqpacketSocket, Watch } from '../../../src/native/binding.ts';
import { decodeResponse, encodeRequest } from '../../../src/protocol/codec.ts';
import { type CriuReq, type CriuResp, ReqType } from '../../../src/protocol/messages.ts';

/** Longer than any answer takes under emulation: it only ends a run that hangs. */
const patienceMs = 200_000;

const largestReply = 1 << 20;

/** The socket of systemd for the service. */
export const ourAddress = '/run/criu-service.socket';

export class Client {
  readonly #socket: SeqpacketSocket;

  constructor(address: string = ourAddress) {
    this.#socket = native.connect(address);
  }

  send(message: CriuReq): this {
    return this.sendBytes(encodeRequest(message));
  }

  sendBytes(bytes: Uint8Array): this {
    if (!this.#socket.send(bytes)) throw new Error('The queue of the service is full');
    return this;
  }

  /** The next message, or `closed`; a connection that is reset counts as closed. */
  async next(): Promise<CriuResp | 'closed'> {
    const packet = await this.#packet();
    if (!packet) return 'closed';
    for (const fd of packet.fds) fd.close();
    const decoded = decodeResponse(packet.data, 'lenient');
    if (decoded.kind === 'malformed') throw new Error(decoded.reason);
    return decoded.message;
  }

  /**
   * The next message, which must be a notification of this name.
   * @param again the notification before it, if it may come twice: a service that goes just when it passes one on leaves it to the
   *   next. One answer is enough for both.
   */
  async notified(script: string, again?: string): Promise<void> {
    let message = await this.next();
    if (again !== undefined && message !== 'closed' && message.notify?.script === again) {
      message = await this.next();
    }
    if (message === 'closed')
      throw new Error(`The connection was closed instead of a notification ${script}`);
    if (message.type !== ReqType.NOTIFY || message.notify?.script !== script) {
      throw new Error(`${JSON.stringify(message)} came instead of a notification ${script}`);
    }
  }

  answer(success: boolean): this {
    return this.send({ type: ReqType.NOTIFY, notify_success: success });
  }

  /** All messages until the connection is closed. */
  async all(): Promise<CriuResp[]> {
    const replies: CriuResp[] = [];
    for (let got = await this.next(); got !== 'closed'; got = await this.next()) replies.push(got);
    this.close();
    return replies;
  }

  /** The single reply before the connection is closed; more or fewer are an error. */
  async only(): Promise<CriuResp> {
    const replies = await this.all();
    if (replies.length !== 1) throw new Error(`${replies.length} replies instead of one`);
    return replies[0]!;
  }

  close(): void {
    this.#socket.close();
  }

  #packet(): Promise<Packet | undefined> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#socket.close();
        reject(new Error(`Neither an answer nor an end came within ${patienceMs / 1000} s`));
      }, patienceMs);
      this.#socket.watch(Watch.readable, () => {
        clearTimeout(timer);
        this.#socket.watch(0);
        try {
          resolve(this.#socket.receive(largestReply));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') resolve(undefined);
          else reject(error);
        }
      });
    });
  }
}

/** Sends a request on a connection of its own and returns the single reply. */
export function ask(message: CriuReq, address: string = ourAddress): Promise<CriuResp> {
  return new Client(address).send(message).only();
}

/** Holds directories (or files) open while a request names their descriptors. */
export async function withOpen<T>(paths: string[], use: (...fds: number[]) => Promise<T>): Promise<T> {
  const fds = paths.map((path) => openSync(path, constants.O_RDONLY));
  try {
    return await use(...fds);
  } finally {
    for (const fd of fds) closeSync(fd);
  }
}
