/** The dialog of `criu swrk`: packets between the program that has started it and the service, until either end ends. */
import { constants as os } from 'node:os';
import type { Connection } from '../client/connection.ts';
import { CriuError } from '../client/criu-error.ts';
import type { OwnedFd, Packet } from '../native/binding.ts';
import { EBADRQC } from '../native/errnos.ts';
import type { PeerFdField } from '../policy/option-table.ts';
import { decodeRequest, decodeResponse, encodeResponse } from '../protocol/codec.ts';
import { ReqType } from '../protocol/messages.ts';
import { refusal } from '../protocol/replies.ts';
import type { ClientEnd } from './client-end.ts';
import { openDirectory, type Peer } from './peer.ts';
import { Refused } from './refused.ts';
import { meaningOf, withValues } from './request.ts';

const { ECONNRESET, EIO, EPERM } = os.errno;

/** Attempts to send a request to services that exit without reading it. */
const mostTries = 5;

type Event =
  | { readonly by: 'client'; readonly packet: Buffer | undefined }
  | { readonly by: 'service'; readonly packet: Packet | undefined };

const never = new Promise<never>(() => {});

export class Dialog {
  readonly #client: ClientEnd;
  readonly #peer: Peer;
  readonly #address: string;
  readonly #connect: () => Promise<Connection>;
  #service: Connection | undefined;
  #fromService: Promise<Event> = never;
  /** The packet that the service has yet to answer. */
  #asked: Buffer | undefined;
  #tries = 0;
  /** A request was sent, and its last reply has not come. */
  #awaitsReply = false;
  /** The program sends no more. */
  #clientEnded = false;
  /** The files that the latest request names. */
  readonly #held: OwnedFd[] = [];
  #answeredAs: number = ReqType.EMPTY;
  /** How the dialog would end if it ended now. */
  #failure: string | undefined = 'nothing was asked';

  constructor(client: ClientEnd, peer: Peer, address: string, connect: () => Promise<Connection>) {
    this.#client = client;
    this.#peer = peer;
    this.#address = address;
    this.#connect = connect;
  }

  /** @returns undefined after a successful reply; otherwise a sentence. */
  async run(): Promise<string | undefined> {
    try {
      await this.#run();
      return this.#failure;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      await this.#client.send(encodeResponse(refusal(this.#answeredAs, error.errno, error.message)));
      return error.message;
    } finally {
      this.#service?.close();
    }
  }

  async #run(): Promise<void> {
    for (;;) {
      const event = await Promise.race([this.#fromClient(), this.#fromService]);
      if (event.by === 'client') {
        if (event.packet) await this.#ask(event.packet);
        else if (this.#awaitsReply) this.#clientEnds();
        else return;
      } else if (event.packet) await this.#answer(event.packet);
      else if (!this.#awaitsReply) return;
      else if (this.#asked && !this.#clientEnded) await this.#askAgain(this.#asked);
      else throw this.#noReply();
    }
  }

  async #ask(packet: Buffer): Promise<void> {
    this.#asked = this.#translate(packet);
    this.#awaitsReply = true;
    this.#tries = 0;
    this.#send(this.#asked, this.#service ?? (await this.#reach()));
  }

  /**
   * A program that has closed its sending half still reads, as it may with the service. Of one that has gone, the outcome is told on
   * standard error.
   */
  #clientEnds(): void {
    this.#clientEnded = true;
    this.#service?.endSending();
  }

  /** While the service is at work, only the end of the client counts. */
  #fromClient(): Promise<Event> {
    if (this.#clientEnded) return never;
    const packet = this.#asked ? this.#client.gone() : this.#client.receive();
    return packet.then((received) => ({ by: 'client', packet: received }));
  }

  /** A service that was killed before it read the request has begun nothing. Its socket belongs to systemd and stays. */
  async #askAgain(request: Buffer): Promise<void> {
    this.#tries += 1;
    if (!this.#service?.leftUnread || this.#tries === mostTries) throw this.#noReply();
    this.#service.close();
    this.#send(request, await this.#reach());
  }

  #noReply(): Refused {
    return new Refused(
      ECONNRESET,
      `The service at ${this.#address} has closed the connection without a reply: CRIU may have finished or not. See if the process runs; after a dump that has ended it, inventory.img is there`,
    );
  }

  #send(request: Buffer, service: Connection): void {
    try {
      service.send(request);
    } catch (error) {
      // A reply waits in the queue, or the end does.
      if (!(error instanceof CriuError)) throw error;
    }
  }

  #listen(service: Connection): void {
    this.#fromService = service.receive().then((packet) => ({ by: 'service', packet }));
  }

  async #reach(): Promise<Connection> {
    try {
      this.#service = await this.#connect();
      requireTrusted(this.#service);
      this.#listen(this.#service);
      return this.#service;
    } catch (error) {
      if (!(error instanceof CriuError)) throw error;
      throw new Refused(
        error.errno ?? EIO,
        `${error.message}; this criu asks the service of the machine (systemctl enable --now criu.socket)`,
      );
    }
  }

  /** @throws Refused */
  #translate(bytes: Buffer): Buffer {
    const decoded = decodeRequest(bytes, 'lenient');
    // The service has words for the first, and the other names nothing.
    if (decoded.kind === 'malformed' || decoded.message.type === ReqType.NOTIFY) return bytes;
    const meaning = meaningOf(decoded.message, process.cwd());
    this.#answeredAs = meaning.answeredAs;
    for (const fd of this.#held.splice(0)) fd.close();

    const { target, imagesDir, descriptors } = meaning;
    if (target === 'client' || (target !== undefined && target > 0 && this.#peer.isBelow(target)))
      throw new Refused(
        EBADRQC,
        `The tree contains the program that asks: a program that dumps itself connects to ${this.#address} (criu_set_service_address, use_sk) and starts no criu`,
      );
    const numbers: Partial<Record<PeerFdField, number>> = {};
    const hold = (option: PeerFdField, fd: OwnedFd): void => {
      this.#held.push(fd);
      numbers[option] = fd.number;
    };
    for (const { option, number } of descriptors) hold(option, this.#peer.open(option, number));
    if (imagesDir !== undefined) hold('images_dir_fd', openDirectory(imagesDir));
    return withValues(bytes, { ...meaning.overrides, ...numbers });
  }

  async #answer({ data, fds }: Packet): Promise<void> {
    const decoded = decodeResponse(data, 'lenient');
    const reply = decoded.kind === 'response' ? decoded.message : undefined;
    this.#asked = undefined;
    if (reply?.type !== ReqType.NOTIFY) {
      this.#awaitsReply = false;
      this.#failure = reply?.success ? undefined : (reply?.cr_errmsg ?? 'the service has told a failure');
    }
    const sent = await this.#client.send(data, fds);
    for (const fd of fds) fd.close();
    if (!sent) this.#clientEnds();
    this.#listen(this.#service!);
  }
}

/** CRIU_SERVICE may come from somebody else, and root's program believes the pids in replies. @throws Refused */
function requireTrusted({ serverUid }: Connection): void {
  if (process.geteuid!() !== 0 || serverUid === undefined || serverUid === 0) return;
  throw new Refused(
    EPERM,
    `The service belongs to user ${serverUid}, and root asks only a service of root’s`,
  );
}
