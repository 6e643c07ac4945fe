/**
 * Reads the state of callers when their packets have arrived, without being blocked by any caller.
 *
 * If a process is inside execve(2), reading its ns/* links or its auxv waits until exec is done, and exec waits for FUSE servers.
 * So a caller with less than root's rights is read on a native thread that may hang: one reading at a time for each uid, with a
 * deadline. While a reading of that uid hangs, its next callers are refused.
 */
import { type Caller, CallerGoneError, type CallerState, looksPrivileged, readTwice } from './caller.ts';
import { answerAtOnce, answerElsewhere } from './reading.ts';

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
    if (uid !== 0) return this.#inLane(caller);
    const { directory } = caller;
    try {
      return answerAtOnce(looksPrivileged(this.#own), directory)
        ? answerAtOnce(readTwice(pid, 'root'), directory)
        : this.#inLane(caller);
    } catch (error) {
      if (error instanceof CallerGoneError) throw error;
      throw new CallerGoneError(`Process ${pid} cannot be read: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async #inLane(caller: Caller): Promise<CallerState> {
    const lane = this.#laneOf(caller.identity.uid);
    lane.waiting += 1;
    const before = lane.tail;
    let done = (): void => {};
    lane.tail = new Promise((resolve) => {
      done = resolve;
    });
    try {
      await before;
      return await this.#readInTime(caller, lane);
    } finally {
      lane.waiting -= 1;
      done();
      this.#forget(caller.identity.uid, lane);
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

  async #readInTime(caller: Caller, lane: Lane): Promise<CallerState> {
    const { pid, uid } = caller.identity;
    if (lane.lost || this.#lost >= maxLost) {
      throw new CallerGoneError(
        'An earlier caller with this uid has yet to be read: it is inside execve(2), or has very many threads',
      );
    }
    // Each question has a copy of the directory, so that the session may close its own while a reading hangs.
    const reading = this.#readElsewhere(readTwice(pid, uid === 0 ? 'root' : 'user'), caller.directory);
    const over = reading.then(
      () => {},
      () => {},
    );
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.#lose(uid, lane, over);
        reject(
          new CallerGoneError(
            `Process ${pid} could not be read within ${this.#deadlineMs / 1000} s: it is inside execve(2), or has very many threads`,
          ),
        );
      }, this.#deadlineMs);
    });
    try {
      return await Promise.race([reading, late]);
    } finally {
      clearTimeout(timer);
    }
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
