/**
 * Limits the records that each user may cause, so that a user cannot drown the records of others. (criu.service switches
 * journald's own limit off, which does not tell users apart.) Pure: the time is a parameter.
 *
 * Records of work and other records have separate budgets: a user with a thousand refused requests cannot hide the record of one
 * dump.
 */
import type { UserKey } from '../proc/connection-user.ts';

/** `work`: an engine was at work. `talk`: all other records, mostly of refusals, which cost their caller nothing. */
export type RecordClass = 'work' | 'talk';

export interface Budget {
  /** The number of records that may come at once. */
  readonly burst: number;
  readonly perSecond: number;
}

/** Honest work stays below: an engine takes some milliseconds, and a user has a few engines at once. */
export const budgets: Readonly<Record<RecordClass, Budget>> = {
  work: { burst: 2000, perSecond: 200 },
  talk: { burst: 200, perSecond: 5 },
};

/** The number of dropped records of a user. */
export interface Dropped {
  readonly user: UserKey;
  readonly count: number;
}

interface Bucket {
  left: number;
  readonly user: UserKey;
  readonly budget: Budget;
  /** The time of `left`, in milliseconds. */
  at: number;
  dropped: number;
}

export class RecordLimiter {
  readonly #budgets: Readonly<Record<RecordClass, Budget>>;
  readonly #buckets = new Map<string, Bucket>();

  constructor(given: Readonly<Record<RecordClass, Budget>> = budgets) {
    this.#budgets = given;
  }

  /** @returns true if the record may be written. Records of root are never dropped. */
  admit(user: UserKey, which: RecordClass, now: number): boolean {
    if (user === 0) return true;
    const key = `${which} ${user}`;
    const bucket = this.#buckets.get(key) ?? this.#add(key, user, this.#budgets[which], now);
    refill(bucket, now);
    if (bucket.left < 1) {
      bucket.dropped += 1;
      return false;
    }
    bucket.left -= 1;
    return true;
  }

  /** Returns the drops since the last call. Forgets users whose budgets are full again. */
  takeDropped(now: number): Dropped[] {
    const dropped = new Map<UserKey, number>();
    for (const [key, bucket] of this.#buckets) {
      refill(bucket, now);
      if (bucket.dropped > 0) dropped.set(bucket.user, (dropped.get(bucket.user) ?? 0) + bucket.dropped);
      bucket.dropped = 0;
      if (bucket.left >= bucket.budget.burst) this.#buckets.delete(key);
    }
    return [...dropped].map(([user, count]) => ({ user, count }));
  }

  #add(key: string, user: UserKey, budget: Budget, now: number): Bucket {
    const bucket = { left: budget.burst, user, budget, at: now, dropped: 0 };
    this.#buckets.set(key, bucket);
    return bucket;
  }
}

function refill(bucket: Bucket, now: number): void {
  const { burst, perSecond } = bucket.budget;
  bucket.left = Math.min(burst, bucket.left + ((now - bucket.at) / 1000) * perSecond);
  bucket.at = now;
}
