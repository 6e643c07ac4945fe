/**
 * One connection, from accept to close: owns the fds and timers, and does what the machine (machine/machine.ts) says.
 *
 * Each packet of the caller is looked at while it waits in the queue, where its sender cannot change it any more, and is
 * consumed only to be relayed or thrown away.
 */
import { constants as os } from 'node:os';
import type { EngineExit } from '../engine/engine.ts';
import type { KeptAnswers, Question } from '../engine/kept-answers.ts';
import { type NativeError, native, type Packet, type SeqpacketSocket } from '../native/binding.ts';
import { EBADRQC } from '../native/errnos.ts';
import { maxUserPacketBytes } from '../native/limits.ts';
import type { AuthorizedRequest, RelayPlan } from '../policy/authorize.ts';
import type { Phase } from '../policy/request-table.ts';
import type { ConnectionUser } from '../proc/connection-user.ts';
import { decodeResponse, encodeRequest, encodeResponse } from '../protocol/codec.ts';
import { type CriuResp, isTerminalNotification, ReqType } from '../protocol/messages.ts';
import { fitReply, refusal, withHint } from '../protocol/replies.ts';
import type { Records } from '../records/records.ts';
import type { FdStore } from '../systemd/fd-store.ts';
import { CallerConnection, type Head } from './caller/connection.ts';
import { Deadlines, type Timeouts } from './caller/deadlines.ts';
import { HandedOver } from './caller/handed-over.ts';
import { Judge, type JudgeContext, type Judgement } from './caller/judge.ts';
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

/** A program that the caller executed meanwhile may have lent the engine more than the caller's own. */
class CallerChangedError extends Error {
  override readonly name = 'CallerChangedError';
  readonly errno = EPERM;

  constructor() {
    super('The calling process has become something else meanwhile');
  }
}

/** What every session of a service shares. */
export interface SessionContext extends JudgeContext, EnginesContext {
  readonly records: Records;
  readonly store: FdStore;
  readonly timeouts: Timeouts;
  /** The largest packet of a caller, in bytes. */
  readonly maxPacketBytes: number;
  readonly answers: KeptAnswers;
}

/** States in which the engine may have gone, and its end says nothing. */
const withoutEngine: ReadonlySet<State['at']> = new Set(['idle', 'resumed']);

const cancelled = 'The request was cut off while it waited for an engine';

/** As CRIU says it (send_criu_rpc_script in action-scripts.c). */
const postResume: CriuResp = {
  type: ReqType.NOTIFY,
  success: true,
  notify: { script: 'post-resume', pid: 0 },
};
/** Without root nothing is asked that takes more, and many who wait must not take more memory than there is. */
function largestPacketOf({ uid }: ConnectionUser, { maxPacketBytes }: SessionContext): number {
  return uid === 0 ? maxPacketBytes : Math.min(maxPacketBytes, maxUserPacketBytes);
}

/** How often it is looked whether an engine has its request: at first, and when it has been at work for a while. */
const firstLookMs = 10;
const longestLookMs = 1000;

export class Session {
  readonly id: number;
  readonly #context: SessionContext;
  readonly #onOver: (session: Session) => void;
  #state: State = initialState;
  readonly #connection: CallerConnection;
  /** The connection, once an engine owns it. */
  #handedOver: HandedOver | undefined;
  readonly #judge: Judge;
  readonly #engines: SessionEngines;
  readonly #records: SessionRecords;
  /** The engine's message that is being dealt with. */
  #message: Packet | undefined;
  /** The engine's final reply, while it is being dealt with. */
  #final: CriuResp | undefined;
  /** What the engine was asked, where its answer is to be kept. */
  #question: Question | undefined;
  /** The bytes of the packet that was decided about last. */
  #waiting: Buffer = Buffer.alloc(0);
  readonly #deadlines: Deadlines;
  readonly #keeper: SessionKeeper;
  /** The request as its engine is to have it. */
  #bytes: Uint8Array = Buffer.alloc(0);
  #over = false;

  /**
   * Takes over `socket`. `onOver` is called once, when nothing of the session is left.
   * @param stored the same session in an earlier start of this service, with the same connection.
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
    this.#judge = new Judge(context);
    this.#keeper = new SessionKeeper(context.store, id, (error) => this.#records.unexpected(error));
    this.#deadlines = new Deadlines(context.timeouts, (reason) => this.#advance({ on: 'deadline', reason }));
    this.#engines = new SessionEngines(context, user.key, this.#judge, {
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

  /** At once: mostly the request is here when its connection is accepted, and a poll is a dozen system calls. */
  look(): void {
    this.#lookAtPacket();
  }

  /** True while an engine is at work for it: such a session is waited for, whatever else ends. */
  get busy(): boolean {
    return this.#engines.busy;
  }

  /** True when nothing of it is left. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Ends a session that has no engine at work, or none yet; others go on. */
  leaveIfIdle(reason: string): void {
    if (this.#state.at === 'idle' || this.#state.at === 'judging') this.#advance({ on: 'stopping', reason });
    else this.#engines.stopWaiting(EAGAIN, reason);
  }

  /** @param reason continues a sentence that begins with the request. */
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

  // ---- what outlives this service

  /** Leaves everything as it is to the next start. A connection on which nothing was asked yet is kept, too. */
  keepForRestart(): void {
    if (this.#state.at === 'idle' && !this.#keeper.keeps) this.#keep();
  }

  /** From here to its end the session is systemd's to keep, too. */
  #keep(): void {
    const handedOver = this.#handedOver?.fd;
    const copy = handedOver ? native.duplicate(handedOver) : this.#connection.copy();
    if (!copy) return;
    this.#keeper.start(copy, this.#waiting, this.#stand());
    copy.close();
    this.#keepEngine();
  }

  /** To be called while it waits for a request. */
  #keepEngine(): void {
    this.#engines.lend((serial, fds) => this.#keeper.engine(serial, fds, this.#stand()));
  }

  /** systemd is told by a thread where it does not read, and what it does not have yet no engine may begin with. */
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

  /** Takes up what an earlier start of this service has left. */
  #goOn(stored: StoredSession, socket: SeqpacketSocket): void {
    const { snapshot, engine } = stored;
    this.#keeper.takeOver(stored);
    const elapsedMs = Math.max(0, Date.now() - snapshot.startedAtMs);
    this.#judge.recall(socket);
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
        // An engine that had no request leaves.
        this.#engines.dismiss();
        this.#lookAnew();
        return;
      case 'go-on':
        this.#resume(snapshot, elapsedMs);
    }
  }

  #resume({ state }: SessionSnapshot, elapsedMs: number): void {
    this.#state = state;
    const request = 'request' in state ? state.request : undefined;
    if (request) this.#deadlines.forOperation(elapsedMs);
    this.#records.resumed(elapsedMs, request);
    switch (state.at) {
      case 'idle':
        // It would look for the descriptors of its next request in the process that made its connection, and that one is gone. No
        // state passes from one request to the next but the images.
        this.#engines.dismiss();
        this.#state = { ...state, engine: false };
        this.#listen(state.phase === 'first' ? 'request' : 'none');
        break;
      case 'offered':
        // The service before was killed when it took the packet from the queue, or right before that.
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
        // The end of its engine is told once more.
        this.#state = { ...state, at: 'leaving' };
        this.#connection.stopListening();
        this.#deadlines.forLeaving();
        break;
      case 'resumed':
        this.#listen('notify');
        break;
      case 'verifying':
        // The notification that it is looked at for is still in the engine's queue, and is dealt with anew.
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
        // The first two do not go on as they were (resumption.ts), the others are never kept.
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
   * The service before was killed when it handed the connection over, and may have started an engine on it. One that has not read
   * the request is ended, because the next one reads it then, and whatever came behind it nobody has judged.
   */
  async #findEngine({ state, callerInode, becomes }: SessionSnapshot, elapsedMs: number): Promise<void> {
    let holder = await holderOf(callerInode);
    if (holder && this.#isUnread()) {
      await this.#engines.endUnbegun(holder, becomes);
      holder = undefined;
    }
    // One that was ended may have read it in its last moment.
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

  /** The request is in its caller's queue, and stays kept until it is judged. */
  #lookAnew(): void {
    this.#state = initialState;
    this.#save();
    this.#perform(initialActions);
  }

  /** Whether the request is still in its caller's queue. What else is there came behind it. */
  #isUnread(): boolean {
    const head = this.#head();
    return head.kind === 'packet' && this.#keeper.packet?.equals(head.data) === true;
  }

  /**
   * The service before was killed when it gave the engine its request. One that has it says something in the end, or leaves; one that
   * does not waits for it as long as we hold its connection, and is asked again.
   */
  #findOut(pauseMs = firstLookMs): void {
    // An engine that is to roll back reads an end of file now.
    if (this.#state.at !== 'offered' || this.#state.by === 'this-start') return;
    const waits = this.#engines.waitsForRequest;
    if (waits === undefined) {
      // It may be in the middle of a dump: where it waits for somebody it reads an end of file, and what it says in the end counts.
      this.cutOff('whether an engine had it when this service was restarted cannot be found out');
    } else if (waits) this.#advance({ on: 'unread' });
    else setTimeout(() => this.#findOut(Math.min(2 * pauseMs, longestLookMs)), pauseMs);
  }

  /** An engine that is no child of ours leaves no status. One that dumped its caller has dumped it, if the caller is gone. */
  #known(end: EngineExit): EngineEnd {
    if (end.how !== 'unknown') return { how: end.how, reason: end.reason };
    // What it answered went past us. A caller that has read that already, and waits for more, is told that it was lost.
    const done =
      this.#state.at === 'handed-over' && (!this.#judge.callerIsThere || this.#handedOver?.isAnswered);
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
        this.#startEngine(action.request, action.plan, action.fresh);
        break;
      case 'restart-engine':
        this.#engines.replace(action.request).then(
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
        this.#handOver(action.request);
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
        this.#answerLater(this.#engines.letRun(this.#context.own.threads[0]!), 'let-run');
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

  /** Nothing is read from the caller while its packet is judged, and whatever happens to it meanwhile counts first. */
  #decide(data: Buffer, phase: Phase): void {
    this.#waiting = data;
    this.#records.received();
    const judged = this.#judgementOf(data, phase);
    if (!(judged instanceof Promise)) {
      this.#advanceAs(judged);
      return;
    }
    // No deadline for the packet counts any more, however long its caller and its target take to be read.
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
      return this.#judge.judge(data, phase, this.#connection.socket!, () => {
        if (this.#state.at === 'idle') this.#advance({ on: 'packet' });
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
      // An answer to a notification that is refused is no request of its own.
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

  #startEngine(request: AuthorizedRequest, plan: RelayPlan, fresh: boolean): void {
    if (fresh && this.#isAnswered(request, plan)) return;
    const start = async (): Promise<void> => {
      const preparation = new RelayPreparation(this.#judge.caller, plan);
      this.#records.accepted(request, preparation);
      const opened = fresh
        ? await this.#engines.relay(request, plan, preparation.engineFds, this.#waiting.length)
        : {};
      if (!fresh) await this.#engines.reuse(request);
      this.#keepEngine();
      if (this.#keeper.waits) await this.#keeper.waits;
      if (request.engine === 'confined' && !(await this.#judge.stillStands())) throw new CallerChangedError();
      this.#bytes = preparation.rewrite(this.#waiting, opened);
      this.#advance({ on: 'engine-ready' });
    };
    start().catch((error) => this.#notStarted(request, error));
  }

  /** Another engine waits for the same request. */
  #offer(): void {
    this.#keepEngine();
    this.#whenKept(() => this.#advance({ on: 'engine-ready' }));
  }

  /** Whether an engine has answered the same question before, so that none is needed. */
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

  #handOver(request: AuthorizedRequest): void {
    this.#records.accepted(request);
    // The engine reads the packet from the queue itself, and CRIU tells its own connection by the socket's inode.
    const fd = this.#connection.release();
    this.#handedOver = new HandedOver(fd);
    this.#keeper.becomes = this.#judge.confined;
    // The engine of the request before has nothing to do with this one, and the next start must not take it for its.
    this.#engines.setAside();
    this.#keep();
    this.#whenKept(() =>
      this.#engines.handOver(request, fd, this.#waiting.length).then(
        () => this.#keepEngine(),
        (error) => this.#notStarted(request, error),
      ),
    );
  }

  #notStarted(request: AuthorizedRequest, error: unknown): void {
    const { message, errno } = error as NativeError;
    this.#advance({
      on: 'not-started',
      // Those of node:fs are negative.
      errno: error instanceof BadDescriptorError ? EBADRQC : Math.abs(errno ?? ESRCH),
      reason: error instanceof NotStartedError ? message : `${request.name}: ${message}`,
      engineRemains: this.#engines.running,
    });
  }

  /** The input that says how it went comes later, whatever becomes of the engine meanwhile. */
  #verify(): void {
    this.#answerLater(this.#engines.verify(this.#context.own.threads[0]!), 'verified').then(() =>
      this.#messageDone(),
    );
  }

  /** @param reason why what was restored must not run; undefined when it may. */
  #answerLater(reason: Promise<string | undefined>, good: 'verified' | 'let-run'): Promise<void> {
    return reason
      .catch((error) => `cannot be verified: ${(error as Error).message}`)
      .then((why) => this.#advance(why === undefined ? { on: good } : { on: 'unverified', reason: why }));
  }

  /** What the engine said before it left. */
  #sendReply(reply: Buffer): void {
    const decoded = decodeResponse(reply, 'lenient');
    if (decoded.kind !== 'malformed') this.#final = decoded.message;
    this.#connection.send(reply);
  }

  /** What a confined engine sends is its caller's to write, so it must be read the same by every parser. */
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

  /** As good as dead. What it restored is ended first: CRIU takes the end of its connection for leave to go on. */
  #engineLies(reason: string): void {
    this.#advance({ on: 'engine-end', end: { how: 'lost', reason } });
    this.#engines.dismiss();
  }

  #expectsTerminal(message: Buffer): boolean {
    if (!('request' in this.#state) || !this.#state.request.terminal) return false;
    const decoded = decodeResponse(message, 'strict');
    return decoded.kind === 'response' && isTerminalNotification(decoded.message);
  }

  /** Whatever was not forwarded ends here, and the next one may come. */
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
    // The last reply is out: the sooner nobody goes on from here, the less likely it is passed on twice.
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
    this.#judge.close();
    this.#onOver(this);
  }
}
