/**
 * Judges the descriptors and mappings of a frozen restored tree. They are read as root and checked with the rights of the caller,
 * on a thread that a silent file system may block. A blocked thread is given up after a deadline. While a thread of a user is
 * blocked, no other is started for that user.
 */

import { native } from '../../native/binding.ts';
import { judgeHolding, type Surroundings } from '../../policy/held.ts';
import { type Holdings, parseHoldings } from '../../policy/holdings.ts';
import type { Restorer } from '../../policy/restored.ts';
import { within } from '../../proc/deadline.ts';
import { type Reading, readInTurns } from '../../proc/turns.ts';

/** The time for one reading, enough for the largest of trees. */
const deadlineMs = 30_000;

/** The limit of blocked threads over all users: each has a stack. */
const maxLost = 256;

type Caller = Pick<Restorer, 'uid' | 'gid' | 'groups'>;

export class HeldReader {
  readonly #deadlineMs: number;
  readonly #read: typeof native.readHeld;
  /** The number of blocked threads, by uid. */
  readonly #lost = new Map<number, number>();

  constructor(deadline = deadlineMs, read = native.readHeld) {
    this.#deadlineMs = deadline;
    this.#read = read;
  }

  /** @throws Error if the reading takes too long, or an earlier thread of this user is still blocked. */
  async read(processes: readonly number[], { uid, gid, groups }: Caller): Promise<Holdings> {
    const all = [...this.#lost.values()].reduce((sum, each) => sum + each, 0);
    if (this.#lost.has(uid) || all >= maxLost) {
      throw new Error('an earlier tree has yet to be looked through, on a file system that does not answer');
    }
    const reading = this.#read(processes, { uid, gid, groups });
    const read = await within(this.#deadlineMs, reading, () => {
      this.#lose(uid, reading);
      const seconds = this.#deadlineMs / 1000;
      throw new Error(
        `what it holds could not be looked at within ${seconds} s: a file system does not answer`,
      );
    });
    return parseHoldings(read);
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
 * @param members the pids of the restored tree.
 * @param engine the engine's pid; the engine itself may hold anything.
 * @returns the reason why the tree must not run, beginning with a verb; undefined if it may run.
 * @throws Error if the tree cannot be read.
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
