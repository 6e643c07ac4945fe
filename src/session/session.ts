/**
 * One connection, from accept to close: turns events into inputs of the machine (machine/machine.ts) and carries its actions out.
 *
 * Each packet of the caller is judged while it waits in the queue, where its sender can no longer change it. It is consumed only
 * to be relayed or discarded.
 */
import { constants as os } from 'node:os';
import type { Packet, SeqpacketSocket } from '../native/binding.ts';
import type { ConnectionUser } from '../proc/connection-user.ts';
import { decodeResponse, encodeRequest, encodeResponse } from '../protocol/codec.ts';
import { type CriuResp, isTerminalNotification, ReqType } from '../protocol/messages.ts';
import { refusal } from '../protocol/replies.ts';
import { CallerConnection } from './caller/connection.ts';
import { Deadlines } from './caller/deadlines.ts';
import { CallerPackets } from './caller/packets.ts';
import { largestPacketOf, type SessionContext } from './context.ts';
import { Dispatch } from './dispatch.ts';
import type { RestoringCaller } from './engines/lease-state.ts';
import { EngineLeases } from './engines/leases.ts';
import { EngineMessages } from './engines/messages.ts';
import { keep, save } from './keep/keeping.ts';
import { isUnread, knownEnd, resume } from './keep/resume.ts';
import { SessionKeeper } from './keep/session-keeper.ts';
import type { StoredSession } from './keep/stored-sessions.ts';
import { initialActions, initialState, step } from './machine/machine.ts';
import type { Action, Input, State } from './machine/states.ts';
import type { SessionParts } from './parts.ts';
import { type Final, reword } from './reword.ts';
import { SecondTry } from './second-try.ts';
import { SessionRecords } from './session-records.ts';

const { EAGAIN, ECANCELED, ESRCH } = os.errno;

const cancelled = 'The request was cut off while it waited for an engine';

/** The same message as CRIU's (send_criu_rpc_script in action-scripts.c). */
const postResume: CriuResp = {
  type: ReqType.NOTIFY,
  success: true,
  notify: { script: 'post-resume', pid: 0 },
};

export class Session {
  readonly id: number;
  readonly #context: SessionContext;
  readonly #onOver: (session: Session) => void;
  #state: State = initialState;
  readonly #connection: CallerConnection;
  readonly #packets: CallerPackets;
  readonly #engines: EngineLeases;
  readonly #messages: EngineMessages;
  readonly #records: SessionRecords;
  readonly #deadlines: Deadlines;
  readonly #keeper: SessionKeeper;
  readonly #parts: SessionParts;
  readonly #dispatch: Dispatch;
  readonly #secondTry: SecondTry;
  #over = false;

  /**
   * Takes over `socket`. Calls `onOver` once, when nothing of the session is left.
   * @param stored the state of the same session in an earlier start of the service, with the same connection.
   */
  constructor(
    id: number,
    socket: SeqpacketSocket,
    user: ConnectionUser,
    context: SessionContext,
    onOver: (session: Session) => void,
    stored?: StoredSession,
  ) {
    this.id = id;
    this.#context = context;
    this.#onOver = onOver;
    this.#keeper = new SessionKeeper(context.store, id, context.makeFile, (error) =>
      this.#records.unexpected(error),
    );
    this.#deadlines = new Deadlines(context.timeouts, (reason) => this.#advance({ on: 'deadline', reason }));
    this.#engines = new EngineLeases(context, user.key, {
      onMessage: (packet, confined) => this.#onEngineMessage(packet, confined),
      onHangup: () => this.#advance({ on: 'engine-hangup' }),
      expectsTerminal: (message) => this.#expectsTerminal(message),
      onLie: (reason) => this.#engineLies(reason),
      onEnd: (end) => this.#advance({ on: 'engine-end', end: knownEnd(this.#parts, end) }),
      onUnread: () => this.#advance({ on: 'unread' }),
      onAllGone: () => this.#finish(),
    });
    this.#records = new SessionRecords(context.records, this.#engines, { session: id, user }, () =>
      this.#finish(),
    );
    this.#connection = new CallerConnection(socket, largestPacketOf(user, context), {
      onReadable: () => this.#packets.look(),
      onEnd: () => this.#advance({ on: 'caller-end' }),
      onUnwatched: (error) => {
        this.#records.unexpected(error);
        this.#advance({ on: 'caller-end' });
      },
      onRoom: () => this.#engines.resume(),
    });
    this.#messages = new EngineMessages(this.#connection, context.answers);
    this.#packets = new CallerPackets(context, this.#connection, {
      state: () => this.#state,
      advance: (input) => this.#advance(input),
      stopListening: () => this.#stopListening(),
      received: () => {
        // The duration of a request covers both of its tries.
        if (!('again' in this.#state)) this.#records.received();
      },
      asks: (asked) => this.#records.asks(asked),
      unexpected: (error) => this.#records.unexpected(error),
    });
    this.#parts = {
      context,
      connection: this.#connection,
      packets: this.#packets,
      engines: this.#engines,
      messages: this.#messages,
      records: this.#records,
      deadlines: this.#deadlines,
      keeper: this.#keeper,
      state: () => this.#state,
      advance: (input) => this.#advance(input),
      take: (next) => {
        this.#state = next.state;
        this.#perform(next.actions);
      },
    };
    this.#dispatch = new Dispatch(this.#parts);
    this.#secondTry = new SecondTry(this.#parts, user.key);
    if (stored) resume(this.#parts, stored, socket);
    else this.#perform(initialActions);
  }

  /** Reads the queue at once: usually the request came with the connection, and a poll would cost a dozen system calls. */
  look(): void {
    this.#packets.look();
  }

  /** True while an engine of the session exists or is being started. The session is not over before that. */
  get busy(): boolean {
    return this.#engines.busy;
  }

  /** True when nothing of the session is left. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Ends a session that has no engine at work, and cancels a wait for an engine; other sessions go on. */
  leaveIfIdle(reason: string): void {
    if (this.#state.at === 'idle' || this.#state.at === 'judging') this.#advance({ on: 'stopping', reason });
    else this.#engines.stopWaiting(EAGAIN, reason);
  }

  /** @param reason the predicate of a sentence; the request is its subject. */
  cutOff(reason: string): void {
    this.#advance({ on: 'deadline', reason });
  }

  /** Leaves the session to the next start, including a connection without a request so far. */
  keepForRestart(): void {
    if (this.#state.at === 'idle' && !this.#keeper.keeps) keep(this.#parts);
  }

  #advance(input: Input): void {
    const before = this.#state;
    const next = step(before, input);
    this.#state = next.state;
    this.#records.step(
      () =>
        `${before.at} + ${input.on} -> ${next.state.at}: ${next.actions.map((each) => each.do).join(', ') || 'nothing'}`,
    );
    this.#perform(next.actions);
    save(this.#parts);
    if (this.#state.at === 'over') this.#finish();
  }

  #perform(actions: readonly Action[]): void {
    for (const action of actions) this.#do(action);
  }

  #do(action: Action): void {
    switch (action.do) {
      case 'listen':
        this.#listen(action.deadline);
        break;
      case 'stop-listening':
        this.#stopListening();
        break;
      case 'keep':
        keep(this.#parts);
        break;
      case 'save':
        save(this.#parts, action.state);
        break;
      case 'forget':
        this.#keeper.forget();
        break;
      case 'judge-again':
        this.#judgeAgain();
        break;
      case 'give-way':
        this.#secondTry.giveWay(action, () => this.#judgeAgain());
        break;
      case 'begin':
        this.#records.begin(action.request);
        this.#deadlines.forOperation(0);
        break;
      case 'start-engine':
        if (this.#dispatch.start(action)) this.#messageDone();
        break;
      case 'restart-engine':
        this.#dispatch.restart(action);
        break;
      case 'abandon-engine':
        this.#deadlines.endOperation();
        this.#engines.abandon();
        break;
      case 'send':
        this.#dispatch.send();
        break;
      case 'hand-over':
        this.#dispatch.handOver(action);
        break;
      case 'answer':
        this.#connection.discard();
        this.#engines.send(this.#packets.judged.data);
        break;
      case 'answer-failure':
        this.#connection.discard();
        this.#engines.send(encodeRequest({ type: ReqType.NOTIFY, notify_success: false }));
        break;
      case 'acknowledge':
        this.#engines.send(encodeRequest({ type: ReqType.NOTIFY, notify_success: true }));
        break;
      case 'verify':
        this.#verify();
        break;
      case 'kill-tree':
        this.#engines.stopWaiting(ECANCELED, cancelled);
        this.#engines.killTree();
        break;
      case 'discard':
        this.#connection.discard();
        break;
      case 'discard-unread':
        if (isUnread(this.#parts)) this.#connection.discard();
        break;
      case 'give-connection':
        this.#connection.handOver();
        break;
      case 'forward':
        this.#messages.forward(action);
        // The last reply is out. Drop the stored session at once: a restart before that would forward the reply a second time.
        if (this.#state.at === 'draining' || this.#state.at === 'over') this.#keeper.forget();
        break;
      case 'reply':
        this.#connection.reply(encodeResponse(refusal(action.type, action.errno, action.reason)));
        break;
      case 'dismiss-engine':
        this.#engines.stopWaiting(ECANCELED, cancelled);
        this.#engines.dismiss();
        break;
      case 'await-rollback':
        this.#deadlines.forRollback();
        break;
      case 'await-leaving':
        this.#deadlines.forLeaving();
        break;
      case 'kill-engine':
        this.#engines.killEngine();
        break;
      case 'let-run':
        this.#answerLater(this.#engines.letRun(this.#restorer), 'let-run');
        break;
      case 'notify-resumed':
        this.#connection.send(encodeResponse(postResume));
        break;
      case 'send-reply':
        this.#messages.sendReply(Buffer.from(action.reply, 'base64'));
        break;
      case 'check-tree':
        this.#records.leftBehind(action.left);
        break;
      case 'close-caller':
        this.#closeCaller();
        break;
      case 'record-unexpected':
        this.#records.unexpected(new Error(`${action.on} came in the state ${action.at}`));
        break;
      case 'record':
        this.#record(action);
        break;
    }
  }

  // ---- the caller's side

  #listen(deadline: 'request' | 'notify' | 'none'): void {
    this.#deadlines.forPacket(deadline);
    this.#connection.listen();
  }

  #stopListening(): void {
    this.#deadlines.endPacket();
    this.#connection.stopListening();
  }

  #judgeAgain(): void {
    const packet = this.#keeper.packet ?? this.#packets.request;
    if (packet) this.#packets.judge(packet, 'first');
    else this.#advance({ on: 'malformed', errno: ESRCH, reason: 'The request was lost in a restart' });
  }

  #closeCaller(): void {
    this.#deadlines.endPacket();
    this.#connection.close(() => this.#finish());
  }

  // ---- the engine's side

  /** Starts the verification. Its result arrives as an input later, even if the engine ends meanwhile. */
  #verify(): void {
    this.#answerLater(this.#engines.verify(this.#restorer), 'verified').then(() => this.#messageDone());
  }

  /** The caller, as a measure for what it restores; undefined if the caller cannot be identified. */
  get #restorer(): RestoringCaller | undefined {
    const { identity } = this.#packets.caller ?? {};
    if (!identity) return undefined;
    const { uid, gid, groups } = identity;
    return { uid, gid, groups, surroundings: this.#context.own.threads[0]! };
  }

  /** @param reason the reason why the restored tree must not run; undefined if it may run. */
  #answerLater(reason: Promise<string | undefined>, good: 'verified' | 'let-run'): Promise<void> {
    return reason
      .catch((error) => `cannot be verified: ${(error as Error).message}`)
      .then((why) => this.#advance(why === undefined ? { on: good } : { on: 'unverified', reason: why }));
  }

  #onEngineMessage(packet: Packet, confined: boolean): void {
    const input = this.#messages.receive(packet, confined);
    const next = typeof input === 'object' && input.on === 'engine-final' ? this.#complete(input) : input;
    if (next instanceof Promise) next.then((completed) => this.#handled(completed));
    else this.#handled(next);
  }

  /** The engine is read no further until then, so its end comes afterwards. */
  #complete(input: Final): Final | Promise<Final> {
    const worded = reword(this.#parts, input);
    return worded instanceof Promise
      ? worded.then((read) => this.#secondTry.complete(read))
      : this.#secondTry.complete(worded);
  }

  /** @param input a sentence if the message must not be used. */
  #handled(input: Input | string): void {
    if (typeof input === 'string') this.#engineLies(input);
    else this.#advance(input);
    if (this.#state.at !== 'verifying') this.#messageDone();
  }

  /** Treats the engine as lost. The restored tree is killed first: CRIU resumes the tree when it reads an end of file. */
  #engineLies(reason: string): void {
    this.#advance({ on: 'engine-end', end: { how: 'lost', reason } });
    this.#engines.dismiss();
  }

  #expectsTerminal(message: Buffer): boolean {
    if (!('request' in this.#state) || !this.#state.request.terminal) return false;
    const decoded = decodeResponse(message, 'strict');
    return decoded.kind === 'response' && isTerminalNotification(decoded.message);
  }

  /** Lets the engine's next message come. */
  #messageDone(): void {
    this.#messages.done();
    if (!this.#connection.full) this.#engines.resume();
  }

  // ---- the end

  #record(action: Extract<Action, { do: 'record' }>): void {
    this.#deadlines.endOperation();
    const { imagesDir } = this.#engines;
    const log = this.#engines.endLoan(action.result === 'failed');
    this.#records.ended(action, this.#messages.final, imagesDir, log);
  }

  #finish(): void {
    if (
      this.#over ||
      this.#records.looking ||
      this.#state.at !== 'over' ||
      this.busy ||
      !this.#connection.closed
    ) {
      return;
    }
    this.#over = true;
    this.#keeper.forget();
    this.#packets.close();
    this.#onOver(this);
  }
}
