/** How many connections each user may have: in total and for each user, with a reserve for root. */
import { type Limits, withoutReserve } from '../engine/engine-queue.ts';
import type { UserKey } from '../proc/connection-user.ts';

/** The sessions that are open. */
export class SessionQuota {
  readonly #limits: Limits;
  readonly #byUser = new Map<UserKey, number>();
  #total = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * @param isRoot asked only where it matters: it may cost a look at /proc.
   * @returns why this connection is one too many; undefined when it is counted from now on, until {@link leave}.
   */
  enter(user: UserKey, isRoot: () => boolean): string | undefined {
    const own = this.#byUser.get(user) ?? 0;
    const reason = this.#reason(own);
    if (reason !== undefined && !(user === 0 && this.#total < this.#limits.sessions && isRoot()))
      return reason;
    this.count(user);
    return undefined;
  }

  /** A session of an earlier start, which has let it in: it counts, whatever the limits are. */
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
