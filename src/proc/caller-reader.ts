/**
 * Reads the state of callers when their packets have arrived, and the surroundings of their targets, without being blocked by any
 * caller.
 *
 * If a process is inside execve(2), reading its ns/* links or its auxv waits until exec is done, and exec waits for FUSE servers.
 * So a caller with less than root's rights is read on a native thread that may hang: one reading at a time for each uid, with a
 * deadline. While a reading of that uid hangs, its next callers are refused.
 */
import { constants } from 'node:fs';
import { native, type OwnedFd } from '../native/binding.ts';
import { type Caller, CallerGoneError, type CallerState, looksPrivileged, readTwice } from './caller.ts';
import { within } from './deadline.ts';
import { answerAtOnce, answerElsewhere, type ProcReading } from './reading.ts';
import { readSurroundings, type Surroundings } from './surroundings.ts';

/** The number of processes that are read together. */
const batch = 64;

/** The limit of hanging threads, over all uids: each has a descriptor and a stack. */
const maxLost = 256;

interface Lane {
  /** Settles when the last reading of this uid is over or given up; never rejects. */
  tail: Promise<void>;
  waiting: number;
  lost: boolean;
}

export class CallerReader {
  readonly #own: CallerState;
  readonly #deadlineMs: number;
  readonly #lanes = new Map<number, Lane>();
  #lost = 0;
  readonly #readElsewhere: typeof answerElsewhere;

  /**
   * @param own the state of this service: a caller with the same rights is read without precautions.
   * @param deadlineMs the longest that one reading may take.
   * @param readElsewhere carries out a reading that may block.
   */
  constructor(own: CallerState, deadlineMs: number, readElsewhere = answerElsewhere) {
    this.#own = own;
    this.#deadlineMs = deadlineMs;
    this.#readElsewhere = readElsewhere;
  }

  /**
   * Reads the caller twice, and succeeds only if both readings agree. A caller with root's rights is read synchronously, because
   * root may hold up this service.
   * @throws CallerGoneError when the caller has gone, changes while it is read, has too many threads, or cannot be read.
   */
  read(caller: Caller): CallerState | Promise<CallerState> {
    const { pid, uid } = caller.identity;
    if (uid !== 0) return this.#readCaller(caller);
    const { directory } = caller;
    try {
      return answerAtOnce(looksPrivileged(this.#own), directory)
        ? answerAtOnce(readTwice(pid, 'root'), directory)
        : this.#readCaller(caller);
    } catch (error) {
      if (error instanceof CallerGoneError) throw error;
      throw new CallerGoneError(`Process ${pid} cannot be read: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  /**
   * Reads the surroundings of processes that a caller with this uid names, some at a time.
   * @throws CallerGoneError when one of them cannot be read.
   */
  async *surroundingsOf(uid: number, pids: readonly number[]): AsyncGenerator<readonly Surroundings[]> {
    const proc = native.open('/proc', constants.O_DIRECTORY);
    try {
      for (let at = 0; at < pids.length; at += batch) {
        const some = pids.slice(at, at + batch);
        const what = some.length === 1 ? `Process ${some[0]}` : `One of ${some.length} processes`;
        yield await this.#inLane(uid, what, proc, readSurroundings(some));
      }
    } finally {
      proc.close();
    }
  }

  #readCaller({ identity: { pid, uid }, directory }: Caller): Promise<CallerState> {
    return this.#inLane(uid, `Process ${pid}`, directory, readTwice(pid, uid === 0 ? 'root' : 'user'));
  }

  /** @param what the subject of a sentence: the processes that are read. */
  async #inLane<T>(uid: number, what: string, directory: OwnedFd, reading: ProcReading<T>): Promise<T> {
    const lane = this.#laneOf(uid);
    lane.waiting += 1;
    const before = lane.tail;
    let done = (): void => {};
    lane.tail = new Promise((resolve) => {
      done = resolve;
    });
    try {
      await before;
      return await this.#readInTime(uid, lane, what, directory, reading);
    } finally {
      lane.waiting -= 1;
      done();
      this.#forget(uid, lane);
    }
  }

  #laneOf(uid: number): Lane {
    let lane = this.#lanes.get(uid);
    if (!lane) {
      lane = { tail: Promise.resolve(), waiting: 0, lost: false };
      this.#lanes.set(uid, lane);
    }
    return lane;
  }

  #forget(uid: number, lane: Lane): void {
    if (lane.waiting === 0 && !lane.lost) this.#lanes.delete(uid);
  }

  async #readInTime<T>(
    uid: number,
    lane: Lane,
    what: string,
    directory: OwnedFd,
    answered: ProcReading<T>,
  ): Promise<T> {
    if (lane.lost || this.#lost >= maxLost) {
      throw new CallerGoneError(
        'An earlier caller with this uid has yet to be read: it is inside execve(2), or has very many threads',
      );
    }
    // Each question has a copy of the directory, so that its owner may close it while a reading hangs.
    const reading = this.#readElsewhere(answered, directory);
    const over = reading.then(
      () => {},
      () => {},
    );
    return within(this.#deadlineMs, reading, () => {
      this.#lose(uid, lane, over);
      throw new CallerGoneError(
        `${what} could not be read within ${this.#deadlineMs / 1000} s: it is inside execve(2), or has very many threads`,
      );
    });
  }

  #lose(uid: number, lane: Lane, over: Promise<void>): void {
    lane.lost = true;
    this.#lost += 1;
    over.then(() => {
      lane.lost = false;
      this.#lost -= 1;
      this.#forget(uid, lane);
    });
  }
}
