/** What one session tells the journal: what was asked, when work on it begins, how it ended, what was left. */

import { EBADRQC } from '../native/errnos.ts';
import type { AuthorizedRequest } from '../policy/authorize.ts';
import type { CriuResp } from '../protocol/messages.ts';
import type { Asked, Records, Subject } from '../records/records.ts';
import type { Unfinished } from '../records/vocabulary.ts';
import type { RelayPreparation } from './engines/relay-preparation.ts';
import type { SessionEngines } from './engines/session-engines.ts';
import type { Action } from './machine/states.ts';
import { lookAfter } from './trees/left-behind.ts';

export class SessionRecords {
  readonly #records: Records;
  readonly #engines: SessionEngines;
  readonly #subject: Subject;
  readonly #onLooked: () => void;
  /** What was asked for last, until its record is written. */
  #asked: Asked | undefined;
  /** True from the decision that an engine gets the request to its record. */
  #begun = false;
  #receivedAt = 0n;
  /** What the request at work was lent, until its record. */
  #preparation: RelayPreparation | undefined;
  /** Readings that have yet to end. */
  #looking = 0;

  /** @param onLooked called when something that was read for a record is in it. */
  constructor(records: Records, engines: SessionEngines, subject: Subject, onLooked: () => void) {
    this.#records = records;
    this.#engines = engines;
    this.#subject = subject;
    this.#onLooked = onLooked;
  }

  /** True while a record waits for what is read for it. */
  get looking(): boolean {
    return this.#looking > 0;
  }

  /** By Date.now(). */
  get receivedAtMs(): number {
    return Date.now() - Number((process.hrtime.bigint() - this.#receivedAt) / 1_000_000n);
  }

  /** A packet is looked at: time counts from here. */
  received(): void {
    this.#receivedAt = process.hrtime.bigint();
  }

  /** What the next record is about, as far as it was understood. */
  asks(asked: Asked): void {
    this.#asked = asked;
  }

  /** An engine is to get it. */
  begin(request: AuthorizedRequest): void {
    this.#asked = request;
    this.#begun = true;
  }

  /** @param preparation closed with the record of its end. */
  accepted(request: AuthorizedRequest, preparation?: RelayPreparation): void {
    this.#preparation = preparation;
    const { imagesDir, sharedDirectory } = preparation ?? {};
    this.#records.accepted(this.#subject, request, imagesDir, sharedDirectory);
  }

  /** An earlier start of this service has begun, `elapsedMs` ago. */
  resumed(elapsedMs: number, request: AuthorizedRequest | undefined): void {
    this.#receivedAt = process.hrtime.bigint() - BigInt(Math.round(elapsedMs)) * 1_000_000n;
    if (request) this.begin(request);
    this.#records.resumed(this.#subject, request);
  }

  /** @param final the engine's, where it said something. */
  ended(action: Extract<Action, { do: 'record' }>, final: CriuResp | undefined): void {
    const { result } = action;
    const preparation = this.#preparation;
    const restoredPid = result === 'done' ? this.#engines.restored(final?.restore?.pid) : undefined;
    const end = {
      request: this.#asked,
      result,
      errno: action.errno ?? final?.cr_errno ?? undefined,
      // CRIU keeps its first error line for a success, too.
      reason: action.reason ?? (result === 'done' ? undefined : saidBy(final)),
      restoredPid,
      durationUsec:
        this.#receivedAt === 0n ? undefined : Number((process.hrtime.bigint() - this.#receivedAt) / 1000n),
      enginePid: this.#begun ? this.#engines.pid : undefined,
      scope: restoredPid === undefined ? undefined : this.#engines.scopeOf(restoredPid),
      imagesDir: preparation?.imagesDir,
      stderr: result === 'failed' ? this.#engines.lastWords : [],
    };
    this.#preparation = undefined;
    this.#asked = undefined;
    this.#begun = false;
    if (result !== 'failed' || !preparation) {
      preparation?.close();
      this.#records.finished(this.#subject, { ...end, log: [] });
      return;
    }
    this.#look(async () => {
      const log = await preparation.logLines();
      preparation.close();
      this.#records.finished(this.#subject, { ...end, log });
    });
  }

  /** How the tree of an operation that was cut off is now. */
  leftBehind(left: Unfinished): void {
    this.#look(async () =>
      this.#records.leftBehind(this.#subject, left, await lookAfter(left.request.target!)),
    );
  }

  step(line: () => string): void {
    this.#records.step(this.#subject, line);
  }

  unexpected(error: unknown): void {
    this.#records.unexpected(this.#subject, error);
  }

  /** The session is not over before what is looked at for the journal is written there. */
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

/** CRIU says nothing where it cannot open its log. */
function saidBy(final: CriuResp | undefined): string {
  if (final?.cr_errmsg) return final.cr_errmsg;
  return final?.cr_errno === EBADRQC
    ? 'CRIU gave no reason: an option of the request cannot be used, or nothing can be written into its directory'
    : 'CRIU gave no reason';
}
