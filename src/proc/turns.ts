/**
 * Long readings of /proc, cut into turns: a caller with thousands of threads, or a tree of thousands of tasks, must not hold
 * up the event loop for everybody else. A reading is a generator that yields wherever it may be interrupted.
 */

/** How long the event loop may be held up at a time. */
const turnMs = 4;

export type Reading<T> = Generator<void, T>;

export async function readInTurns<T>(reading: Reading<T>): Promise<T> {
  for (let turn = startTurn(); ; ) {
    const step = reading.next();
    if (step.done) return step.value;
    if (turn.isOver) turn = await nextTurn();
  }
}

/** The time that somebody has had on the event loop. */
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

/** Lets everybody else have theirs. */
export async function nextTurn(): Promise<Turn> {
  await new Promise((resolve) => setImmediate(resolve));
  return startTurn();
}
