/** The packets of a caller: looks at the head of its queue and has it judged there. Owns the caller. */
import { constants as os } from 'node:os';
import type { SeqpacketSocket } from '../../native/binding.ts';
import type { Phase } from '../../policy/request-table.ts';
import { type Caller, identifyCaller } from '../../proc/caller.ts';
import type { Asked } from '../../records/records.ts';
import { phaseOf } from '../machine/machine.ts';
import type { Input, State } from '../machine/states.ts';
import type { CallerConnection, CallerPacket, Head } from './connection.ts';
import type { JudgeContext, Judgement, judge } from './judge.ts';

export interface PacketsContext extends JudgeContext {
  readonly judge: typeof judge;
}

/** The session, as far as its packets need it. */
export interface PacketsSession {
  state(): State;
  advance(input: Input): void;
  /** The packet is here, and its judgement takes time: nothing more is read meanwhile. */
  stopListening(): void;
  /** A packet has been read. */
  received(): void;
  /** A request is refused. */
  asks(asked: Asked): void;
  unexpected(error: unknown): void;
}

export class CallerPackets {
  readonly #context: PacketsContext;
  readonly #connection: CallerConnection;
  readonly #session: PacketsSession;
  /** Undefined before the first packet whose judgement depends on its caller. */
  #caller: Caller | undefined;
  #judged: CallerPacket = { data: Buffer.alloc(0), passedOn: false };
  #request: CallerPacket | undefined;

  constructor(context: PacketsContext, connection: CallerConnection, session: PacketsSession) {
    this.#context = context;
    this.#connection = connection;
    this.#session = session;
  }

  get caller(): Caller | undefined {
    return this.#caller;
  }

  /** The packet that was judged last. */
  get judged(): CallerPacket {
    return this.#judged;
  }

  /** The last request; an answer to a notification may have been judged since. */
  get request(): CallerPacket | undefined {
    return this.#request;
  }

  /** Identifies the caller of a session that an earlier start has judged. A caller that has ended stays unknown. */
  recallCaller(socket: SeqpacketSocket): void {
    try {
      this.#caller = identifyCaller(socket);
    } catch {
      // The caller has ended: no request of its can be judged any more.
    }
  }

  /** Handles the head of the queue, if the session waits for a packet. */
  look(): void {
    const phase = phaseOf(this.#session.state());
    if (phase === undefined) return;
    const head = this.head();
    switch (head.kind) {
      case 'nothing':
        break;
      case 'end':
        this.#session.advance({ on: 'caller-end' });
        break;
      case 'malformed':
        this.#session.advance({ on: 'malformed', errno: head.errno, reason: head.reason });
        break;
      case 'packet':
        this.judge(head, phase);
    }
  }

  head(): Head {
    try {
      return this.#connection.head();
    } catch (error) {
      this.#session.unexpected(error);
      return { kind: 'end' };
    }
  }

  /** Judges a packet. Meanwhile nothing is read from the caller; if another input changes the state, the judgement is dropped. */
  judge(packet: CallerPacket, phase: Phase): void {
    this.#judged = packet;
    if (phase !== 'notify') this.#request = packet;
    this.#session.received();
    const judged = this.#judgementOf(packet, phase);
    if (!(judged instanceof Promise)) {
      this.#advance(judged);
      return;
    }
    // The packet is here, so its deadline is over, even if reading its caller and its target takes long.
    this.#session.stopListening();
    const { at } = this.#session.state();
    judged
      .catch((error) => this.#cannotJudge(error))
      .then((judgement) => {
        if (this.#session.state().at === at) this.#advance(judgement);
      });
  }

  close(): void {
    this.#caller?.close();
  }

  #judgementOf({ data, passedOn }: CallerPacket, phase: Phase): Judgement | Promise<Judgement> {
    try {
      const socket = this.#connection.socket!;
      return this.#context.judge(this.#context, {
        data,
        passedOn,
        phase,
        uid: socket.peerCredentials().uid,
        identify: () => {
          this.#caller ??= identifyCaller(socket);
          return this.#caller;
        },
        onReading: () => {
          if (this.#session.state().at === 'idle') this.#session.advance({ on: 'packet' });
        },
      });
    } catch (error) {
      return this.#cannotJudge(error);
    }
  }

  #cannotJudge(error: unknown): Judgement {
    this.#session.unexpected(error);
    return { on: 'malformed', errno: os.errno.ESRCH, reason: (error as Error).message };
  }

  #advance(judgement: Judgement): void {
    if (judgement.on === 'decided' && judgement.decision.kind === 'refuse') {
      const { name, target } = judgement.decision;
      const { at } = this.#session.state();
      // A refused answer to a notification is no request of its own.
      if (name !== undefined && (at === 'idle' || at === 'judging'))
        this.#session.asks({ name, ...(target === undefined ? {} : { target }) });
    }
    this.#session.advance(judgement);
  }
}
