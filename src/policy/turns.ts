/**
 * Long readings of /proc, cut into turns: a caller with thousands of threads, or a tree of thousands of tasks, must not hold
 * up the event loop for everybody else. A reading is a generator that yields wherever it may be interrupted.
 */

/** How long the event loop may be held up at a time. */
const turnMs = 4;

export type Reading<T> = Generator<void, T>;

/** For readings that are short because of whom they are about. */
export function readAtOnce<T>(reading: Reading<T>): T {
  for (;;) {
    const step = reading.next();
    if (step.done) return step.value;
  }
}

export async function readInTurns<T>(reading: Reading<T>): Promise<T> {
  for (let turn = performance.now(); ; ) {
    const step = reading.next();
    if (step.done) return step.value;
    if (performance.now() - turn > turnMs) {
      await new Promise((resolve) => setImmediate(resolve));
      turn = performance.now();
    }
  }
}
