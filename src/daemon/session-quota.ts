/** Limits of connections, in total and for each user, with a reserve for root. */
import { type Limits, withoutReserve } from '../engine/engine-queue.ts';
import type { UserKey } from '../proc/connection-user.ts';

/** Counts the open sessions. */
export class SessionQuota {
  readonly #limits: Limits;
  readonly #byUser = new Map<UserKey, number>();
  #total = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * @param isRoot called only if the result matters, because it may read /proc.
   * @returns the reason for a refusal; undefined if the connection is admitted, and counts until {@link leave}.
   */
  enter(user: UserKey, isRoot: () => boolean): string | undefined {
    const own = this.#byUser.get(user) ?? 0;
    const reason = this.#reason(own);
    if (reason !== undefined && !(user === 0 && this.#total < this.#limits.sessions && isRoot()))
      return reason;
    this.count(user);
    return undefined;
  }

  /** Counts a session of an earlier start, which admitted it: limits do not apply again. */
  count(user: UserKey): void {
    this.#byUser.set(user, (this.#byUser.get(user) ?? 0) + 1);
    this.#total += 1;
  }

  leave(user: UserKey): void {
    const left = (this.#byUser.get(user) ?? 0) - 1;
    if (left > 0) this.#byUser.set(user, left);
    else this.#byUser.delete(user);
    this.#total -= 1;
  }

  #reason(own: number): string | undefined {
    const { sessions, sessionsPerUser } = this.#limits;
    if (own >= sessionsPerUser) {
      return `You have ${own} connections to this service, which is as many as one user may have (--max-sessions-per-user)`;
    }
    return this.#total >= withoutReserve(sessions)
      ? `This service has ${this.#total} connections, which is as many as it takes (--max-sessions)`
      : undefined;
  }
}
