/**
 * How many records each user may cause, so that nobody drowns the others' (criu.service switches journald's own limit off,
 * which knows no users). Pure: the time comes in.
 *
 * Records of work and all others are counted apart: whoever makes the service refuse a thousand requests cannot hide the one dump
 * among them.
 */
import type { UserKey } from '../proc/connection-user.ts';

/** `work`: an engine was at work for it. `talk`: all else, refusals for the most part, which cost their caller nothing. */
export type RecordClass = 'work' | 'talk';

export interface Budget {
  /** Records at once. */
  readonly burst: number;
  readonly perSecond: number;
}

/** An engine takes some milliseconds, and a user has but a few at once: honest work stays below this. */
export const budgets: Readonly<Record<RecordClass, Budget>> = {
  work: { burst: 2000, perSecond: 200 },
  talk: { burst: 200, perSecond: 5 },
};

/** What was not written. */
export interface Dropped {
  readonly user: UserKey;
  readonly count: number;
}

interface Bucket {
  left: number;
  readonly user: UserKey;
  readonly budget: Budget;
  /** When `left` was true, in milliseconds. */
  at: number;
  dropped: number;
}

export class RecordLimiter {
  readonly #budgets: Readonly<Record<RecordClass, Budget>>;
  readonly #buckets = new Map<string, Bucket>();

  constructor(given: Readonly<Record<RecordClass, Budget>> = budgets) {
    this.#budgets = given;
  }

  /** @returns whether the record may be written. What root does is never dropped. */
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

  /** What was dropped since this was asked last. Users that have been quiet since are forgotten. */
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
