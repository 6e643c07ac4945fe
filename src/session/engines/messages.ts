/** The message of an engine that a session handles, and its way to the caller. */
import type { Explained } from '../../engine/engine-words.ts';
import type { KeptAnswers, Question } from '../../engine/kept-answers.ts';
import type { Packet } from '../../native/binding.ts';
import type { AuthorizedRequest, RelayPlan } from '../../policy/authorize.ts';
import { decodeResponse, encodeResponse } from '../../protocol/codec.ts';
import { type CriuResp, ReqType } from '../../protocol/messages.ts';
import { fitReply, reworded, withHint, withWarning } from '../../protocol/replies.ts';
import { sanitize } from '../../systemd/log.ts';
import type { CallerConnection } from '../caller/connection.ts';
import type { Action, Input } from '../machine/states.ts';

export class EngineMessages {
  readonly #connection: CallerConnection;
  readonly #answers: KeptAnswers;
  /** The message that is being handled. */
  #message: Packet | undefined;
  /** The engine's final reply, while it is being handled. */
  #final: CriuResp | undefined;
  /** The question to the engine, if its answer is to be stored. */
  #question: Question | undefined;

  constructor(connection: CallerConnection, answers: KeptAnswers) {
    this.#connection = connection;
    this.#answers = answers;
  }

  /** The final reply; after a hand-over, a failing reply that the caller has yet to read. */
  get final(): CriuResp | undefined {
    return this.#final ?? this.#unreadFailure;
  }

  get #unreadFailure(): CriuResp | undefined {
    const bytes = this.#connection.answer;
    const decoded = bytes && decodeResponse(bytes, 'lenient');
    return decoded?.kind === 'response' && !decoded.message.success ? decoded.message : undefined;
  }

  /**
   * Takes over a message.
   * @param confined the engine sends what its caller wants, so its messages must read the same to every parser (strict).
   * @returns the input for the machine, or a sentence if the message must not be used.
   */
  receive(
    packet: Packet,
    confined: boolean,
  ): Extract<Input, { on: 'engine-notify' | 'engine-final' }> | string {
    const decoded = decodeResponse(packet.data, confined ? 'strict' : 'lenient');
    this.#message = packet;
    if (decoded.kind === 'malformed') return `The engine sent no criu_resp: ${decoded.reason}`;
    const { message } = decoded;
    if (message.type === ReqType.NOTIFY) {
      return { on: 'engine-notify', script: message.notify?.script ?? '' };
    }
    const { success, cr_errno } = message;
    this.#final = message;
    if (success) this.#question?.keep(packet.data);
    this.#question = undefined;
    return { on: 'engine-final', success, errno: cr_errno ?? 0, reply: fitReply(packet.data) };
  }

  /**
   * Takes a stored answer to the same question as the message, so that no engine is needed.
   * @returns the success of the answer; undefined without an answer: then the engine's answer will be stored.
   */
  takeKnown(request: AuthorizedRequest, plan: RelayPlan, packet: Buffer): boolean | undefined {
    this.#question = this.#answers.question(request.type, plan.fresh ?? packet);
    const answer = this.#question?.answer;
    if (!answer) return undefined;
    this.#question = undefined;
    const decoded = decodeResponse(answer, 'lenient');
    if (decoded.kind === 'malformed') return undefined;
    this.#message = { data: answer, fds: [] };
    this.#final = decoded.message;
    return decoded.message.success;
  }

  /** Gives the failing reply other words. */
  reword({ message, errno }: Explained): Extract<Input, { on: 'engine-final' }> {
    const words = { cr_errmsg: sanitize(message), ...(errno === undefined ? {} : { cr_errno: errno }) };
    const final = { ...this.#final!, ...words };
    const data = reworded(this.#message!.data, words.cr_errmsg, errno);
    this.#message = { ...this.#message!, data };
    this.#final = final;
    return { on: 'engine-final', success: final.success, errno: final.cr_errno ?? 0, reply: fitReply(data) };
  }

  /** Forwards the message, with the words for a final reply. */
  forward({ hint, warning }: Omit<Extract<Action, { do: 'forward' }>, 'do'>): void {
    const packet = this.#message;
    this.#message = undefined;
    const final = this.#final;
    const worded =
      final && hint !== undefined
        ? withHint(final, hint)
        : final && warning !== undefined
          ? withWarning(final, warning)
          : undefined;
    if (worded) this.#final = worded;
    const data = worded ? encodeResponse(worded) : packet?.data;
    if (packet && data) this.#connection.send(fitReply(data), packet.fds);
  }

  /** Sends the final reply of an engine that has gone. */
  sendReply(reply: Buffer): void {
    const decoded = decodeResponse(reply, 'lenient');
    if (decoded.kind !== 'malformed') this.#final = decoded.message;
    this.#connection.send(reply);
  }

  /** The message was handled: closes descriptors that were not forwarded. */
  done(): void {
    for (const fd of this.#message?.fds ?? []) fd.close();
    this.#message = undefined;
    this.#final = undefined;
  }
}
