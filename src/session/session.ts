/**
 * One connection, from accept to close: turns events into inputs of the machine (machine/machine.ts) and carries its actions out.
 *
 * Each packet of the caller is judged while it waits in the queue, where its sender can no longer change it. It is consumed only
 * to be relayed or discarded.
 */
import { constants as os } from 'node:os';
import type { EngineExit } from '../engine/engine.ts';
import type { KeptAnswers, Question } from '../engine/kept-answers.ts';
import { type NativeError, native, type Packet, type SeqpacketSocket } from '../native/binding.ts';
import { EBADRQC } from '../native/errnos.ts';
import { maxUserPacketBytes } from '../native/limits.ts';
import type { AuthorizedRequest, RelayPlan } from '../policy/authorize.ts';
import type { Phase } from '../policy/request-table.ts';
import { type Caller, identifyCaller } from '../proc/caller.ts';
import type { ConnectionUser } from '../proc/connection-user.ts';
import { decodeResponse, encodeRequest, encodeResponse } from '../protocol/codec.ts';
import { type CriuResp, isTerminalNotification, ReqType } from '../protocol/messages.ts';
import { fitReply, refusal, withHint } from '../protocol/replies.ts';
import type { Records } from '../records/records.ts';
import type { FdStore } from '../systemd/fd-store.ts';
import { CallerConnection, type Head } from './caller/connection.ts';
import { Deadlines, type Timeouts } from './caller/deadlines.ts';
import { HandedOver } from './caller/handed-over.ts';
import { type JudgeContext, type Judgement, type judge, stillStands } from './caller/judge.ts';
import { type EngineFor, identityFor } from './caller/known-caller.ts';
import { BadDescriptorError, RelayPreparation } from './engines/relay-preparation.ts';
import { type EnginesContext, NotStartedError, SessionEngines } from './engines/session-engines.ts';
import { holderOf } from './keep/find-engine.ts';
import { resumptionOf } from './keep/resumption.ts';
import type { SessionSnapshot } from './keep/session-file.ts';
import { SessionKeeper, type Stand } from './keep/session-keeper.ts';
import type { StoredSession } from './keep/stored-sessions.ts';
import { initialActions, initialState, phaseOf, step } from './machine/machine.ts';
import type { Action, EngineEnd, Input, State } from './machine/states.ts';
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

/** The objects that all sessions of a service share. */
export interface SessionContext extends JudgeContext, EnginesContext {
  readonly records: Records;
  readonly store: FdStore;
  readonly timeouts: Timeouts;
  /** The largest packet of a caller, in bytes. */
  readonly maxPacketBytes: number;
  readonly answers: KeptAnswers;
  readonly judge: typeof judge;
}

/** States in which an engine that has gone is no loss. */
const withoutEngine: ReadonlySet<State['at']> = new Set(['idle', 'resumed']);

const cancelled = 'The request was cut off while it waited for an engine';

/** The same message as CRIU's (send_criu_rpc_script in action-scripts.c). */
const postResume: CriuResp = {
  type: ReqType.NOTIFY,
  success: true,
  notify: { script: 'post-resume', pid: 0 },
};

/** Requests of users are small, and the memory of many that wait must be bounded. */
function largestPacketOf({ uid }: ConnectionUser, { maxPacketBytes }: SessionContext): number {
  return uid === 0 ? maxPacketBytes : Math.min(maxPacketBytes, maxUserPacketBytes);
}

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
  /** Undefined before the first packet whose judgement depends on its caller. */
  #caller: Caller | undefined;
  /** The engine of the current request, if it was judged in this start. */
  #engineFor: EngineFor = { is: 'probe' };
  readonly #engines: SessionEngines;
  readonly #records: SessionRecords;
  /** The engine's message that is being handled. */
  #message: Packet | undefined;
  /** The engine's final reply, while it is being handled. */
  #final: CriuResp | undefined;
  /** The question to the engine, if its answer is to be stored. */
  #question: Question | undefined;
  /** The bytes of the packet that was judged last. */
  #waiting: Buffer = Buffer.alloc(0);
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
    this.#keeper = new SessionKeeper(context.store, id, (error) => this.#records.unexpected(error));
    this.#deadlines = new Deadlines(context.timeouts, (reason) => this.#advance({ on: 'deadline', reason }));
    this.#engines = new SessionEngines(context, user.key, {
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
      onReadable: () => this.#lookAtPacket(),
      onEnd: () => this.#advance({ on: 'caller-end' }),
      onUnwatched: (error) => {
        this.#records.unexpected(error);
        this.#advance({ on: 'caller-end' });
      },
      onRoom: () => this.#engines.resume(),
    });
    if (stored) this.#goOn(stored, socket);
    else this.#perform(initialActions);
  }

  /** Reads the queue at once: usually the request came with the connection, and a poll would cost a dozen system calls. */
  look(): void {
    this.#lookAtPacket();
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
    this.#keeper.start(copy, this.#waiting, this.#stand());
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
    this.#recallCaller(socket);
    if (engine && snapshot.engine) this.#engines.adopt(engine, snapshot.engine);
    const { state } = snapshot;
    switch (resumptionOf(state, engine !== undefined)) {
      case 'ask-again':
        this.#state = { at: 'judging', phase: 'first', engine: false, packet: 'ours' };
        this.#save();
        this.#perform([{ do: 'abandon-engine' }, { do: 'judge-again' }]);
        return;
      case 'find-engine':
        this.#state = state;
        this.#findEngine(snapshot, elapsedMs).catch((error) => {
          this.#records.unexpected(error);
          this.#advance({ on: 'engine-end', end: { how: 'lost', reason: (error as Error).message } });
        });
        return;
      case 'look-anew':
        // An engine without a request exits.
        this.#engines.dismiss();
        this.#lookAnew();
        return;
      case 'go-on':
        this.#resume(snapshot, elapsedMs);
    }
  }

  /** Identifies the caller of a session that an earlier start has judged. A caller that has ended stays unknown. */
  #recallCaller(socket: SeqpacketSocket): void {
    try {
      this.#caller = identifyCaller(socket);
    } catch {
      // The caller has ended: no request of its can be judged any more.
    }
  }

  #resume({ state }: SessionSnapshot, elapsedMs: number): void {
    this.#state = state;
    const request = 'request' in state ? state.request : undefined;
    if (request) this.#deadlines.forOperation(elapsedMs);
    this.#records.resumed(elapsedMs, request);
    switch (state.at) {
      case 'idle':
        // The old engine would look for the descriptors of the next request in the service that made its connection, which is
        // gone. Dismissing it loses nothing: between two requests only the images matter.
        this.#engines.dismiss();
        this.#state = { ...state, engine: false };
        this.#listen(state.phase === 'first' ? 'request' : 'none');
        break;
      case 'offered':
        // The earlier start was killed while it took the packet off the queue, or right before that.
        if (state.packet === 'queued' && this.#isUnread()) this.#connection.discard();
        this.#state = { ...state, packet: 'ours', by: 'an-earlier-start' };
        this.#connection.stopListening();
        break;
      case 'rolling-back':
        if (state.because.is === 'cut-off') this.#deadlines.forRollback();
        break;
      case 'working':
      case 'restoring':
      case 'resuming':
        this.#connection.stopListening();
        break;
      case 'notifying':
        this.#listen('notify');
        break;
      case 'leaving':
        this.#connection.stopListening();
        this.#deadlines.forLeaving();
        break;
      case 'letting-run':
        // The exit of the engine will be reported again.
        this.#state = { ...state, at: 'leaving' };
        this.#connection.stopListening();
        this.#deadlines.forLeaving();
        break;
      case 'resumed':
        this.#listen('notify');
        break;
      case 'verifying':
        // The notification pre-resume is still in the engine's queue, and is handled again.
        this.#state = { at: 'restoring', request: state.request };
        this.#connection.stopListening();
        break;
      case 'handed-over':
        this.#handedOver = new HandedOver(this.#connection.release());
        break;
      case 'judging':
      case 'starting':
      case 'draining':
      case 'over':
        // Unreachable: the first two are resumed in another way (resumption.ts), the others are never kept.
        break;
    }
    if (!this.#engines.running && !withoutEngine.has(state.at)) {
      this.#advance({
        on: 'engine-end',
        end: { how: 'lost', reason: 'The engine was lost when this service was restarted' },
      });
    } else if (state.at === 'offered' && state.packet === 'queued') this.#findOut();
  }

  /**
   * The earlier start was killed during a hand-over, and may have started an engine on the connection. If the engine has not read
   * the request, kill it and judge the request again: another engine could read a packet behind it, which was never judged.
   */
  async #findEngine({ state, callerInode, becomes }: SessionSnapshot, elapsedMs: number): Promise<void> {
    let holder = await holderOf(callerInode);
    if (holder && this.#isUnread()) {
      await this.#engines.endUnbegun(holder, becomes);
      holder = undefined;
    }
    // The engine may have read the request right before it was killed.
    if (this.#isUnread()) {
      this.#lookAnew();
      return;
    }
    this.#records.resumed(elapsedMs, 'request' in state ? state.request : undefined);
    this.#handedOver = new HandedOver(this.#connection.release());
    if (holder) {
      this.#engines.adoptFound(holder, becomes);
      this.#keepEngine();
    } else {
      if (becomes) this.#engines.sweep(becomes);
      const reason = 'The engine was lost when this service was restarted';
      this.#advance({ on: 'engine-end', end: this.#known({ how: 'unknown', reason }) });
    }
  }

  /** Starts over with the request in its caller's queue. The stored session stays until the request is judged. */
  #lookAnew(): void {
    this.#state = initialState;
    this.#save();
    this.#perform(initialActions);
  }

  /** True if the request is still in its caller's queue. A different packet at the head was sent after it. */
  #isUnread(): boolean {
    const head = this.#head();
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
    const done = this.#state.at === 'handed-over' && (!this.#caller?.isThere || this.#handedOver?.isAnswered);
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
        if (this.#keeper.packet) this.#decide(this.#keeper.packet, 'first');
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
        this.#engines.replace(action.request, this.#engineFor).then(
          () => this.#offer(),
          (error) => this.#notStarted(action.request, error),
        );
        break;
      case 'abandon-engine':
        this.#deadlines.endOperation();
        this.#engines.abandon();
        break;
      case 'send':
        this.#engines.send(this.#bytes);
        break;
      case 'hand-over':
        this.#handOver(action);
        break;
      case 'answer':
        this.#connection.discard();
        this.#engines.send(this.#waiting);
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
      case 'forward':
        this.#forward(action.hint);
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
        this.#answerLater(
          this.#engines.letRun(this.#caller?.identity, this.#context.own.threads[0]!),
          'let-run',
        );
        break;
      case 'notify-resumed':
        this.#connection.send(encodeResponse(postResume));
        break;
      case 'send-reply':
        this.#sendReply(Buffer.from(action.reply, 'base64'));
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
        this.#deadlines.endOperation();
        this.#records.ended(action, this.#final);
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

  #lookAtPacket(): void {
    const phase = phaseOf(this.#state);
    if (phase === undefined) return;
    const head = this.#head();
    switch (head.kind) {
      case 'nothing':
        break;
      case 'end':
        this.#advance({ on: 'caller-end' });
        break;
      case 'malformed':
        this.#advance({ on: 'malformed', errno: head.errno, reason: head.reason });
        break;
      case 'packet':
        this.#decide(head.data, phase);
    }
  }

  #head(): Head {
    try {
      return this.#connection.head();
    } catch (error) {
      this.#records.unexpected(error);
      return { kind: 'end' };
    }
  }

  /** Judges a packet. Meanwhile nothing is read from the caller; if another input changes the state, the judgement is dropped. */
  #decide(data: Buffer, phase: Phase): void {
    this.#waiting = data;
    this.#records.received();
    const judged = this.#judgementOf(data, phase);
    if (!(judged instanceof Promise)) {
      this.#advanceAs(judged);
      return;
    }
    // The packet is here, so its deadline is over, even if reading its caller and its target takes long.
    this.#stopListening();
    const { at } = this.#state;
    judged
      .catch((error) => this.#cannotJudge(error))
      .then((judgement) => {
        if (this.#state.at === at) this.#advanceAs(judgement);
      });
  }

  #judgementOf(data: Buffer, phase: Phase): Judgement | Promise<Judgement> {
    try {
      const socket = this.#connection.socket!;
      return this.#context.judge(this.#context, {
        data,
        phase,
        uid: socket.peerCredentials().uid,
        identify: () => (this.#caller ??= identifyCaller(socket)),
        onReading: () => {
          if (this.#state.at === 'idle') this.#advance({ on: 'packet' });
        },
      });
    } catch (error) {
      return this.#cannotJudge(error);
    }
  }

  #cannotJudge(error: unknown): Judgement {
    this.#records.unexpected(error);
    return { on: 'malformed', errno: ESRCH, reason: (error as Error).message };
  }

  #advanceAs(judgement: Judgement): void {
    if (judgement.on === 'decided' && judgement.decision.kind === 'refuse') {
      const { name, target } = judgement.decision;
      // A refused answer to a notification is no request of its own.
      if (name !== undefined && (this.#state.at === 'idle' || this.#state.at === 'judging')) {
        this.#records.asks({ name, ...(target === undefined ? {} : { target }) });
      }
    }
    this.#advance(judgement);
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
    if (fresh && this.#isAnswered(request, plan)) return;
    this.#engineFor = engine;
    const start = async (): Promise<void> => {
      const preparation = new RelayPreparation(this.#caller, plan);
      this.#records.accepted(request, preparation);
      const opened = fresh
        ? await this.#engines.relay(request, engine, plan, preparation.engineFds, this.#waiting.length)
        : {};
      if (!fresh) await this.#engines.reuse(request, engine);
      this.#keepEngine();
      if (this.#keeper.waits) await this.#keeper.waits;
      if (engine.is === 'confined' && !(await stillStands(this.#context, engine.as)))
        throw new CallerChangedError();
      this.#bytes = preparation.rewrite(this.#waiting, opened);
      this.#advance({ on: 'engine-ready' });
    };
    start().catch((error) => this.#notStarted(request, error));
  }

  /** Offers the request to its replacement engine. */
  #offer(): void {
    this.#keepEngine();
    this.#whenKept(() => this.#advance({ on: 'engine-ready' }));
  }

  /** True if a stored answer to the same question was sent, so that no engine is needed. */
  #isAnswered(request: AuthorizedRequest, plan: RelayPlan): boolean {
    this.#question = this.#context.answers.question(request.type, plan.fresh ?? this.#waiting);
    const answer = this.#question?.answer;
    if (!answer) return false;
    this.#question = undefined;
    const decoded = decodeResponse(answer, 'lenient');
    if (decoded.kind === 'malformed') return false;
    this.#message = { data: answer, fds: [] };
    this.#final = decoded.message;
    this.#advance({ on: 'answered', success: decoded.message.success });
    this.#final = undefined;
    this.#messageDone();
    return true;
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
      this.#engines.handOver(request, engine, fd, this.#waiting.length).then(
        () => this.#keepEngine(),
        (error) => this.#notStarted(request, error),
      ),
    );
  }

  #notStarted(request: AuthorizedRequest, error: unknown): void {
    const { message, errno } = error as NativeError;
    this.#advance({
      on: 'not-started',
      // Errnos of node:fs are negative.
      errno: error instanceof BadDescriptorError ? EBADRQC : Math.abs(errno ?? ESRCH),
      reason: error instanceof NotStartedError ? message : `${request.name}: ${message}`,
      engineRemains: this.#engines.running,
    });
  }

  /** Starts the verification. Its result arrives as an input later, even if the engine ends meanwhile. */
  #verify(): void {
    const surroundings = this.#context.own.threads[0]!;
    this.#answerLater(this.#engines.verify(this.#caller?.identity, surroundings), 'verified').then(() =>
      this.#messageDone(),
    );
  }

  /** @param reason the reason why the restored tree must not run; undefined if it may run. */
  #answerLater(reason: Promise<string | undefined>, good: 'verified' | 'let-run'): Promise<void> {
    return reason
      .catch((error) => `cannot be verified: ${(error as Error).message}`)
      .then((why) => this.#advance(why === undefined ? { on: good } : { on: 'unverified', reason: why }));
  }

  /** Sends the final reply of an engine that has gone. */
  #sendReply(reply: Buffer): void {
    const decoded = decodeResponse(reply, 'lenient');
    if (decoded.kind !== 'malformed') this.#final = decoded.message;
    this.#connection.send(reply);
  }

  /** A confined engine sends what its caller wants, so its messages must read the same to every parser (strict). */
  #onEngineMessage(packet: Packet, confined: boolean): void {
    const decoded = decodeResponse(packet.data, confined ? 'strict' : 'lenient');
    this.#message = packet;
    if (decoded.kind === 'malformed') {
      this.#engineLies(`The engine sent no criu_resp: ${decoded.reason}`);
    } else if (decoded.message.type === ReqType.NOTIFY) {
      this.#advance({ on: 'engine-notify', script: decoded.message.notify?.script ?? '' });
    } else {
      const { success, cr_errno } = decoded.message;
      this.#final = decoded.message;
      if (success) this.#question?.keep(packet.data);
      this.#question = undefined;
      this.#advance({ on: 'engine-final', success, errno: cr_errno ?? 0, reply: fitReply(packet.data) });
      this.#final = undefined;
    }
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

  /** Closes descriptors that were not forwarded, then lets the engine's next message come. */
  #messageDone(): void {
    for (const fd of this.#message?.fds ?? []) fd.close();
    this.#message = undefined;
    if (!this.#connection.full) this.#engines.resume();
  }

  #forward(hint: string | undefined): void {
    const packet = this.#message;
    this.#message = undefined;
    if (hint !== undefined && this.#final) this.#final = withHint(this.#final, hint);
    const data = hint !== undefined && this.#final ? encodeResponse(this.#final) : packet?.data;
    if (packet && data) this.#connection.send(fitReply(data), packet.fds);
    // The last reply is out. Drop the stored session at once: a restart before that would forward the reply a second time.
    if (this.#state.at === 'draining' || this.#state.at === 'over') this.#keeper.forget();
  }

  // ---- the end

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
    this.#caller?.close();
    this.#onOver(this);
  }
}
