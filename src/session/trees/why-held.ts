/**
 * What a restored tree holds, looked at while it stands frozen: read as root, and asked as its caller, on a thread that may be lost
 * to a file system that does not answer. One that is lost has its deadline, and none is risked for a user while one of that user's
 * is lost.
 */

import { native } from '../../native/binding.ts';
import { judgeHolding, type Surroundings } from '../../policy/held.ts';
import { type Holdings, parseHoldings } from '../../policy/holdings.ts';
import type { Restorer } from '../../policy/restored.ts';
import { type Reading, readInTurns } from '../../proc/turns.ts';

/** How long the look may take, for the largest of trees. */
const deadlineMs = 10_000;

/** Threads that are lost at the same time, whoever lost them: each has a stack. */
const maxLost = 256;

type Caller = Pick<Restorer, 'uid' | 'gid' | 'groups'>;

export class HeldReader {
  readonly #deadlineMs: number;
  readonly #read: typeof native.readHeld;
  /** By uid, how many threads of that user's are lost. */
  readonly #lost = new Map<number, number>();

  constructor(deadline = deadlineMs, read = native.readHeld) {
    this.#deadlineMs = deadline;
    this.#read = read;
  }

  /** @throws Error when it takes too long, or an earlier one of this user's still does. */
  async read(processes: readonly number[], { uid, gid, groups }: Caller): Promise<Holdings> {
    const all = [...this.#lost.values()].reduce((sum, each) => sum + each, 0);
    if (this.#lost.has(uid) || all >= maxLost) {
      throw new Error('an earlier tree has yet to be looked through, on a file system that does not answer');
    }
    const reading = this.#read(processes, { uid, gid, groups });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.#lose(uid, reading);
        const seconds = this.#deadlineMs / 1000;
        reject(
          new Error(
            `what it holds could not be looked at within ${seconds} s: a file system does not answer`,
          ),
        );
      }, this.#deadlineMs);
    });
    try {
      return parseHoldings(await Promise.race([reading, late]));
    } finally {
      clearTimeout(timer);
    }
  }

  #lose(uid: number, reading: Promise<unknown>): void {
    this.#lost.set(uid, (this.#lost.get(uid) ?? 0) + 1);
    const found = (): void => {
      const left = (this.#lost.get(uid) ?? 1) - 1;
      if (left > 0) this.#lost.set(uid, left);
      else this.#lost.delete(uid);
    };
    reading.then(found, found);
  }
}

const usual = new HeldReader();

/**
 * @param members the pids of what was restored.
 * @param engine its pid, which holds what it likes.
 * @returns why they must not run, beginning with a verb; undefined when they may.
 * @throws Error when they cannot be looked at.
 */
export async function whyHeld(
  members: readonly number[],
  engine: number,
  caller: Restorer,
  reader = usual,
): Promise<string | undefined> {
  const tree = members.filter((pid) => pid !== engine);
  const { procMount, each } = await reader.read(tree, caller);
  return readInTurns(
    judge(each, {
      uid: caller.uid,
      engine,
      members: new Set(tree),
      namespaces: new Set(Object.values(caller.surroundings.namespaces)),
      procMount,
    }),
  );
}

function* judge(each: Holdings['each'], where: Surroundings): Reading<string | undefined> {
  for (const holding of each) {
    const reason = judgeHolding(holding, where);
    if (reason !== undefined) return reason;
    yield;
  }
  return undefined;
}
