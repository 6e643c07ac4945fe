/**
 * Long readings of /proc, cut into turns, so that a caller with thousands of threads, or a tree of thousands of tasks, does not
 * hold up the event loop for other callers. A reading is a generator that yields wherever it may be interrupted.
 */

/** The longest time that a turn occupies the event loop. */
const turnMs = 4;

export type Reading<T> = Generator<void, T>;

export async function readInTurns<T>(reading: Reading<T>): Promise<T> {
  for (let turn = startTurn(); ; ) {
    const step = reading.next();
    if (step.done) return step.value;
    if (turn.isOver) turn = await nextTurn();
  }
}

/** The time of a reading on the event loop since it last let other work run. */
export interface Turn {
  readonly isOver: boolean;
}

export function startTurn(): Turn {
  const end = performance.now() + turnMs;
  return {
    get isOver() {
      return performance.now() > end;
    },
  };
}

/** Lets other work on the event loop run, then starts the next turn. */
export async function nextTurn(): Promise<Turn> {
  await new Promise((resolve) => setImmediate(resolve));
  return startTurn();
}
