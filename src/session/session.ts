/**
 * One connection, from accept to close: turns events into inputs of the machine (machine/machine.ts) and carries its actions out.
 *
 * Each packet of the caller is judged while it waits in the queue, where its sender can no longer change it. It is consumed only
 * to be relayed or discarded.
 */
import { constants as os } from 'node:os';
import type { EngineExit } from '../engine/engine.ts';
import { native, type Packet, type SeqpacketSocket } from '../native/binding.ts';
import type { AuthorizedRequest } from '../policy/authorize.ts';
import type { ConnectionUser } from '../proc/connection-user.ts';
import { decodeResponse, encodeRequest, encodeResponse } from '../protocol/codec.ts';
import { type CriuResp, isTerminalNotification, ReqType } from '../protocol/messages.ts';
import { refusal } from '../protocol/replies.ts';
import { CallerConnection } from './caller/connection.ts';
import { Deadlines } from './caller/deadlines.ts';
import { HandedOver } from './caller/handed-over.ts';
import { stillStands } from './caller/judge.ts';
import { identityFor } from './caller/known-caller.ts';
import { CallerPackets } from './caller/packets.ts';
import { largestPacketOf, type SessionContext } from './context.ts';
import type { Surroundings } from './engines/lease.ts';
import { EngineLeases } from './engines/leases.ts';
import { Loan } from './engines/loan.ts';
import { EngineMessages } from './engines/messages.ts';
import { notStarted } from './engines/start.ts';
import { holderOf } from './keep/find-engine.ts';
import { askAgain, goOnFrom, lookAnew, needsEngine, resumptionOf } from './keep/resumption.ts';
import type { SessionSnapshot } from './keep/session-file.ts';
import { SessionKeeper, type Stand } from './keep/session-keeper.ts';
import type { StoredSession } from './keep/stored-sessions.ts';
import { initialActions, initialState, step } from './machine/machine.ts';
import type { Action, EngineEnd, Input, State, Step } from './machine/states.ts';
import { SessionRecords } from './session-records.ts';

const { EAGAIN, ECANCELED, EPERM, ESRCH } = os.errno;

/** The caller has changed since it was judged: a program that it executed may have given the engine more rights (TOCTOU). */
class CallerChangedError extends Error {
  override readonly name = 'CallerChangedError';
  readonly errno = EPERM;

  constructor() {
    super('The calling process has become something else meanwhile');
  }
}

const cancelled = 'The request was cut off while it waited for an engine';

/** The same message as CRIU's (send_criu_rpc_script in action-scripts.c). */
const postResume: CriuResp = {
  type: ReqType.NOTIFY,
  success: true,
  notify: { script: 'post-resume', pid: 0 },
};

/** The pause before the first look whether an engine has read its request, and the longest pause; it doubles in between. */
const firstLookMs = 10;
const longestLookMs = 1000;

export class Session {
  readonly id: number;
  readonly #context: SessionContext;
  readonly #onOver: (session: Session) => void;
  #state: State = initialState;
  readonly #connection: CallerConnection;
  /** Our copy of the connection, after an engine has got it. */
  #handedOver: HandedOver | undefined;
  readonly #packets: CallerPackets;
  readonly #engines: EngineLeases;
  readonly #messages: EngineMessages;
  readonly #records: SessionRecords;
  readonly #deadlines: Deadlines;
  readonly #keeper: SessionKeeper;
  /** The request, as rewritten for its engine. */
  #bytes: Uint8Array = Buffer.alloc(0);
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
      onEnd: (end) => this.#advance({ on: 'engine-end', end: this.#known(end) }),
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
      received: () => this.#records.received(),
      asks: (asked) => this.#records.asks(asked),
      unexpected: (error) => this.#records.unexpected(error),
    });
    if (stored) this.#goOn(stored, socket);
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

  #advance(input: Input): void {
    const before = this.#state;
    const next = step(before, input);
    this.#state = next.state;
    this.#records.step(
      () =>
        `${before.at} + ${input.on} -> ${next.state.at}: ${next.actions.map((each) => each.do).join(', ') || 'nothing'}`,
    );
    this.#perform(next.actions);
    this.#save();
    if (this.#state.at === 'over') this.#finish();
  }

  // ---- outliving this service

  /** Leaves the session to the next start, including a connection without a request so far. */
  keepForRestart(): void {
    if (this.#state.at === 'idle' && !this.#keeper.keeps) this.#keep();
  }

  /** Gives the session to systemd's store, until the session ends. */
  #keep(): void {
    const handedOver = this.#handedOver?.fd;
    const copy = handedOver ? native.duplicate(handedOver) : this.#connection.copy();
    if (!copy) return;
    this.#keeper.start(copy, this.#packets.judged, this.#stand());
    copy.close();
    this.#keepEngine();
  }

  /** Gives the current engine to the store. Call this before the engine gets its request. */
  #keepEngine(): void {
    this.#engines.copyFdsFor((serial, fds) => this.#keeper.engine(serial, fds, this.#stand()));
  }

  /** Waits until the store has everything: no engine may begin before that. If systemd is slow to read, a thread writes to it. */
  #whenKept(then: () => void): void {
    const { waits } = this.#keeper;
    if (waits) waits.then(then);
    else then();
  }

  #save(): void {
    if (!this.#keeper.keeps) return;
    if (this.#state.at === 'draining' || this.#state.at === 'over') this.#keeper.forget();
    else this.#keeper.save(this.#stand());
  }

  #stand(): Stand {
    return {
      state: this.#state,
      startedAtMs: this.#records.receivedAtMs,
      ...this.#engines.snapshot,
    };
  }

  /** Goes on with the session of an earlier start. */
  #goOn(stored: StoredSession, socket: SeqpacketSocket): void {
    const { snapshot, engine } = stored;
    this.#keeper.takeOver(stored);
    const elapsedMs = Math.max(0, Date.now() - snapshot.startedAtMs);
    this.#packets.recallCaller(socket);
    if (engine && snapshot.engine) this.#engines.adopt(engine, snapshot.engine);
    switch (resumptionOf(snapshot.state, engine !== undefined)) {
      case 'ask-again':
        this.#take(askAgain);
        return;
      case 'find-engine':
        this.#state = snapshot.state;
        this.#findEngine(snapshot, elapsedMs).catch((error) => {
          this.#records.unexpected(error);
          this.#advance({ on: 'engine-end', end: { how: 'lost', reason: (error as Error).message } });
        });
        return;
      case 'look-anew':
        // An engine without a request exits.
        this.#engines.dismiss();
        this.#take(lookAnew);
        return;
      case 'go-on':
        this.#resume(snapshot.state, elapsedMs);
    }
  }

  /** Saves the state of a resumption before its actions (write-ahead). */
  #take({ state, actions }: Step): void {
    this.#state = state;
    this.#save();
    this.#perform(actions);
  }

  #resume(saved: State, elapsedMs: number): void {
    const request = 'request' in saved ? saved.request : undefined;
    if (request) this.#deadlines.forOperation(elapsedMs);
    this.#records.resumed(elapsedMs, request);
    const { state, actions } = goOnFrom(saved);
    this.#state = state;
    this.#perform(actions);
    if (!this.#engines.running && needsEngine(saved)) {
      this.#advance({
        on: 'engine-end',
        end: { how: 'lost', reason: 'The engine was lost when this service was restarted' },
      });
    } else if (saved.at === 'offered' && saved.packet === 'queued') this.#findOut();
  }

  /**
   * The earlier start was killed during a hand-over, and may have started an engine on the connection. If the engine has not read
   * the request, kill it and judge the request again: another engine could read a packet behind it, which was never judged.
   */
  async #findEngine({ state, callerInode, becomes }: SessionSnapshot, elapsedMs: number): Promise<void> {
    let holder = await holderOf(callerInode);
    if (holder && this.#isUnread()) {
      await this.#context.endUnbegun(holder, becomes, (left) => this.#engines.sweep(left));
      holder = undefined;
    }
    // The engine may have read the request right before it was killed.
    if (this.#isUnread()) {
      this.#take(lookAnew);
      return;
    }
    this.#records.resumed(elapsedMs, 'request' in state ? state.request : undefined);
    this.#perform([{ do: 'give-connection' }]);
    if (holder) {
      this.#engines.adoptFound(holder, becomes);
      this.#keepEngine();
    } else {
      if (becomes) this.#engines.sweep(becomes);
      const reason = 'The engine was lost when this service was restarted';
      this.#advance({ on: 'engine-end', end: this.#known({ how: 'unknown', reason }) });
    }
  }

  /** True if the request is still in its caller's queue. A different packet at the head was sent after it. */
  #isUnread(): boolean {
    const head = this.#packets.head();
    return head.kind === 'packet' && this.#keeper.packet?.equals(head.data) === true;
  }

  /**
   * The earlier start was killed while it sent the request to the engine. If the engine has the request, it will speak or exit.
   * If it has not, it waits as long as we hold its connection, and the request is judged again for another engine.
   */
  #findOut(pauseMs = firstLookMs): void {
    // In another state the question is settled: for example, an engine that rolls back has been sent an end of file.
    if (this.#state.at !== 'offered' || this.#state.by === 'this-start') return;
    const waits = this.#engines.waitsForRequest;
    if (waits === undefined) {
      // The engine may be in the middle of a dump. It reads an end of file where it waits next, and its final reply counts.
      this.cutOff('whether an engine had it when this service was restarted cannot be found out');
    } else if (waits) this.#advance({ on: 'unread' });
    else setTimeout(() => this.#findOut(Math.min(2 * pauseMs, longestLookMs)), pauseMs);
  }

  /**
   * Completes an unknown exit: waitid(2) gives no exit status for an engine that an earlier start forked. After a hand-over, a
   * caller that has disappeared was dumped successfully.
   */
  #known(end: EngineExit): EngineEnd {
    if (end.how !== 'unknown') return { how: end.how, reason: end.reason };
    // The engine's reply did not pass through the service. If the caller has read the reply already and still waits, it is told
    // that the engine was lost.
    const done =
      this.#state.at === 'handed-over' && (!this.#packets.caller?.isThere || this.#handedOver?.isAnswered);
    return { how: done ? 'success' : 'lost', reason: end.reason };
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
        this.#keep();
        break;
      case 'save':
        if (this.#keeper.keeps) this.#keeper.save({ ...this.#stand(), state: action.state });
        break;
      case 'forget':
        this.#keeper.forget();
        break;
      case 'judge-again':
        if (this.#keeper.packet) this.#packets.judge(this.#keeper.packet, 'first');
        else this.#advance({ on: 'malformed', errno: ESRCH, reason: 'The request was lost in a restart' });
        break;
      case 'begin':
        this.#records.begin(action.request);
        this.#deadlines.forOperation(0);
        break;
      case 'start-engine':
        this.#startEngine(action);
        break;
      case 'restart-engine':
        this.#replaceEngine(action.request);
        break;
      case 'abandon-engine':
        this.#deadlines.endOperation();
        this.#engines.abandon();
        break;
      case 'send':
        this.#engines.offer(this.#bytes);
        break;
      case 'hand-over':
        this.#handOver(action);
        break;
      case 'answer':
        this.#connection.discard();
        this.#engines.send(this.#packets.judged);
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
        if (this.#isUnread()) this.#connection.discard();
        break;
      case 'give-connection':
        this.#handedOver = new HandedOver(this.#connection.release());
        break;
      case 'forward':
        this.#messages.forward(action.hint);
        // The last reply is out. Drop the stored session at once: a restart before that would forward the reply a second time.
        if (this.#state.at === 'draining' || this.#state.at === 'over') this.#keeper.forget();
        break;
      case 'reply':
        this.#reply(action.type, action.errno, action.reason);
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

  #reply(type: number, errno: number, reason: string): void {
    const bytes = encodeResponse(refusal(type, errno, reason));
    if (this.#handedOver) this.#handedOver.reply(bytes);
    else this.#connection.send(bytes);
  }

  #closeCaller(): void {
    this.#deadlines.endPacket();
    this.#handedOver?.close();
    this.#connection.close(() => this.#finish());
  }

  // ---- the engine's side

  #startEngine({ request, plan, engine, fresh }: Extract<Action, { do: 'start-engine' }>): void {
    const packet = this.#packets.judged;
    const known = fresh ? this.#messages.takeKnown(request, plan, packet) : undefined;
    if (known !== undefined) {
      this.#advance({ on: 'answered', success: known });
      this.#messageDone();
      return;
    }
    const start = async (): Promise<void> => {
      const loan = new Loan(this.#packets.caller, plan);
      this.#records.accepted(request, loan);
      const order = { request, engine };
      const opened = fresh ? await this.#engines.relay(order, plan, loan, packet.length) : {};
      if (!fresh) await this.#engines.reuse(order, loan);
      this.#keepEngine();
      if (this.#keeper.waits) await this.#keeper.waits;
      if (engine.is === 'confined' && !(await stillStands(this.#context, engine.as)))
        throw new CallerChangedError();
      this.#bytes = loan.rewrite(packet, opened);
      this.#advance({ on: 'engine-ready' });
    };
    start().catch((error) => this.#notStarted(request, error));
  }

  /** Offers the request to another engine. */
  #replaceEngine(request: AuthorizedRequest): void {
    this.#engines.replace(request).then(
      () => {
        this.#keepEngine();
        this.#whenKept(() => this.#advance({ on: 'engine-ready' }));
      },
      (error) => this.#notStarted(request, error),
    );
  }

  #handOver({ request, engine }: Extract<Action, { do: 'hand-over' }>): void {
    this.#records.accepted(request);
    // The engine reads the packet from the queue itself. CRIU recognizes its own connection by the socket's inode.
    const fd = this.#connection.release();
    this.#handedOver = new HandedOver(fd);
    this.#keeper.becomes = engine.is === 'confined' ? identityFor(engine.as) : undefined;
    // The next start must not take the engine of the previous request for the engine of this one.
    this.#engines.setAside();
    this.#keep();
    this.#whenKept(() =>
      this.#engines.handOver({ request, engine }, fd, this.#packets.judged.length).then(
        () => this.#keepEngine(),
        (error) => this.#notStarted(request, error),
      ),
    );
  }

  #notStarted(request: AuthorizedRequest, error: unknown): void {
    this.#advance(notStarted(request, error, this.#engines.running));
  }

  /** Starts the verification. Its result arrives as an input later, even if the engine ends meanwhile. */
  #verify(): void {
    this.#answerLater(this.#engines.verify(this.#restorer), 'verified').then(() => this.#messageDone());
  }

  /** The caller, as a measure for what it restores; undefined if the caller cannot be identified. */
  get #restorer(): Surroundings | undefined {
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
