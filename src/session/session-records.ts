/** The journal records of one session: the request, the begin and the end of its work, the tree that is left. */

import type { MadeTime } from '../engine/confined-identity.ts';
import { wordsOf } from '../engine/engine-words.ts';
import { EBADRQC } from '../native/errnos.ts';
import type { AuthorizedRequest } from '../policy/authorize.ts';
import type { Consent } from '../policy/yama.ts';
import type { CriuResp } from '../protocol/messages.ts';
import type { Asked, Records, Subject } from '../records/records.ts';
import type { Unfinished } from '../records/vocabulary.ts';
import type { Action } from './machine/states.ts';
import { isNews, lookAfter } from './trees/left-behind.ts';

/** The engine of the current request, as far as records name it. */
export interface RecordedEngine {
  readonly pid: number | undefined;
  readonly cgroup: string | undefined;
  readonly clocks: MadeTime['clocks'] | undefined;
  readonly consent: Consent | undefined;
  readonly lastWords: readonly string[];
  /** The pid that the engine has restored, if its claim counts. */
  restored(claim: number | null | undefined): number | undefined;
  scopeOf(restored: number): string | undefined;
}

/** The directories of an accepted request. */
export interface RecordedDirectories {
  readonly imagesDir: string | undefined;
  readonly sharedDirectory: string | undefined;
}

export class SessionRecords {
  readonly #records: Records;
  readonly #engine: RecordedEngine;
  readonly #subject: Subject;
  readonly #onLooked: () => void;
  /** The last request, until its final record is written. */
  #asked: Asked | undefined;
  /** True from the decision that an engine gets the request until the final record. */
  #begun = false;
  #receivedAt = 0n;
  /** Readings for a record that are in flight. */
  #looking = 0;

  /** @param onLooked called when a record that waited for a reading is written. */
  constructor(records: Records, engine: RecordedEngine, subject: Subject, onLooked: () => void) {
    this.#records = records;
    this.#engine = engine;
    this.#subject = subject;
    this.#onLooked = onLooked;
  }

  /** True while a record waits for a reading. */
  get looking(): boolean {
    return this.#looking > 0;
  }

  /** On the clock of Date.now(). */
  get receivedAtMs(): number {
    return Date.now() - Number((process.hrtime.bigint() - this.#receivedAt) / 1_000_000n);
  }

  /** A packet has been read: the duration of its request counts from here. */
  received(): void {
    this.#receivedAt = process.hrtime.bigint();
  }

  /** Sets the request of the next record, as far as it was decoded. */
  asks(asked: Asked): void {
    this.#asked = asked;
  }

  /** An engine gets the request. */
  begin(request: AuthorizedRequest): void {
    this.#asked = request;
    this.#begun = true;
  }

  accepted(request: AuthorizedRequest, directories?: RecordedDirectories): void {
    if (request.isSecondTry) return;
    const { imagesDir, sharedDirectory } = directories ?? {};
    this.#records.accepted(this.#subject, request, imagesDir, sharedDirectory);
  }

  /** A session of an earlier start goes on; its request began `elapsedMs` ago. */
  resumed(elapsedMs: number, request: AuthorizedRequest | undefined): void {
    this.#receivedAt = process.hrtime.bigint() - BigInt(Math.round(elapsedMs)) * 1_000_000n;
    if (request) this.begin(request);
    this.#records.resumed(this.#subject, request);
  }

  /** The request goes to another engine. @param reason ends a sentence. */
  triedAgain(reason: string): void {
    this.#records.triedAgain(this.#subject, this.#asked, reason);
  }

  /**
   * @param final the engine's final reply, if there is one.
   * @param log error lines of CRIU's log, if it is being read.
   */
  ended(
    action: Extract<Action, { do: 'record' }>,
    final: CriuResp | undefined,
    imagesDir: string | undefined,
    log: Promise<readonly string[]> | undefined,
  ): void {
    const { result } = action;
    const words = wordsOf(result === 'failed' ? this.#engine.lastWords : []);
    const restoredPid = result === 'done' ? this.#engine.restored(final?.restore?.pid) : undefined;
    const end = {
      request: this.#asked,
      result,
      errno: action.errno ?? final?.cr_errno ?? undefined,
      // CRIU sends its first error line with a success, too.
      reason: action.reason ?? (result === 'done' ? undefined : saidBy(final)),
      restoredPid,
      durationUsec:
        this.#receivedAt === 0n ? undefined : Number((process.hrtime.bigint() - this.#receivedAt) / 1000n),
      enginePid: this.#begun ? this.#engine.pid : undefined,
      cgroup: this.#begun ? this.#engine.cgroup : undefined,
      scope: restoredPid === undefined ? undefined : this.#engine.scopeOf(restoredPid),
      clocks: restoredPid === undefined ? undefined : this.#engine.clocks,
      consent: this.#begun ? this.#engine.consent : undefined,
      imagesDir,
      stderr: [...words.sentences, ...words.other],
    };
    this.#asked = undefined;
    this.#begun = false;
    const finished = (read: readonly string[]): void =>
      this.#records.finished(this.#subject, { ...end, log: [...read, ...words.log] });
    if (log) this.#look(async () => finished(await log));
    else finished([]);
  }

  /** Records the state of the tree of an operation that was cut off. */
  leftBehind(left: Unfinished): void {
    this.#look(async () => {
      const state = await lookAfter(left.request.target!);
      if (!isNews(left, state)) return;
      this.#records.leftBehind(this.#subject, left, state);
    });
  }

  step(line: () => string): void {
    this.#records.step(this.#subject, line);
  }

  unexpected(error: unknown): void {
    this.#records.unexpected(this.#subject, error);
  }

  /** Runs a reading for the journal. The session is not over before its record is written. */
  #look(reading: () => Promise<void>): void {
    this.#looking += 1;
    reading()
      .catch((error) => this.unexpected(error))
      .then(() => {
        this.#looking -= 1;
        this.#onLooked();
      });
  }
}

/** CRIU gives no error line if it cannot open its log. */
function saidBy(final: CriuResp | undefined): string {
  if (final?.cr_errmsg) return final.cr_errmsg;
  return final?.cr_errno === EBADRQC
    ? 'CRIU gave no reason: an option of the request cannot be used, or nothing can be written into its directory'
    : 'CRIU gave no reason';
}
