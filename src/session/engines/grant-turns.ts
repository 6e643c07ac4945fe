/**
 * The number of criu-grants that each user has at once. Each can occupy a processor for seconds, and a file system of its user's can
 * hold one for as long as it likes.
 */
const mostOfUser = 2;

export interface Grant<T> {
  readonly answer: Promise<T>;
  /** Resolves before an answer that the program has lived to give. */
  readonly gone: Promise<void>;
}

interface User {
  /** Those that are there. */
  running: number;
  /** Those among them that were given up, and are still there. */
  lost: number;
  readonly waiting: (() => void)[];
}

export class GrantTurns {
  readonly #users = new Map<number, User>();

  /**
   * Waits until the user may have another.
   * @returns undefined if all of the user's were given up and none has ended.
   */
  async during<T>(uid: number, start: () => Grant<T>): Promise<T | undefined> {
    const user = this.#users.get(uid) ?? { running: 0, lost: 0, waiting: [] };
    this.#users.set(uid, user);
    while (user.running >= mostOfUser) {
      if (user.lost >= mostOfUser) return undefined;
      await new Promise<void>((resolve) => user.waiting.push(resolve));
    }
    user.running += 1;
    let started: Grant<T>;
    try {
      started = start();
    } catch (error) {
      this.#leave(uid, user);
      throw error;
    }
    let is: 'there' | 'lost' | 'gone' = 'there';
    started.gone.then(() => {
      if (is === 'lost') user.lost -= 1;
      is = 'gone';
      this.#leave(uid, user);
    });
    try {
      return await started.answer;
    } finally {
      if (is === 'there') {
        is = 'lost';
        user.lost += 1;
        this.#wake(user);
      }
    }
  }

  #leave(uid: number, user: User): void {
    user.running -= 1;
    if (user.running === 0 && user.waiting.length === 0) this.#users.delete(uid);
    this.#wake(user);
  }

  #wake(user: User): void {
    for (const resolve of user.waiting.splice(0)) resolve();
  }
}
