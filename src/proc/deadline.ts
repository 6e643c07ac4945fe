/**
 * Deadlines in the time during which this process runs. If the machine stands still for a while, or this process does (SIGSTOP, a
 * virtual machine that is moved, a machine that is overloaded), a timer of Node finds its time over at once, before it hears of
 * what has been done meanwhile.
 */

/** A step that comes late counts as this much. */
const stepMs = 250;

/** @returns the function that ends the deadline. */
export function startDeadline(ms: number, call: () => void): () => void {
  let timer: NodeJS.Timeout;
  let turn: NodeJS.Immediate | undefined;
  const step = (left: number): void => {
    const now = Math.min(stepMs, left);
    timer = setTimeout(() => {
      // Events that wait are handled before: the work may be done.
      if (left <= now) turn = setImmediate(call);
      else step(left - now);
    }, now);
  };
  step(ms);
  return () => {
    clearTimeout(timer);
    clearImmediate(turn);
  };
}

/**
 * @param late called if the work is not done after `ms`: its result, or its error, is the result then.
 * @returns the result of the work, or its error.
 */
export async function within<T>(ms: number, work: Promise<T>, late: () => T): Promise<T> {
  let stop = (): void => {};
  const over = new Promise<void>((resolve) => {
    stop = startDeadline(ms, resolve);
  }).then(late);
  try {
    return await Promise.race([work, over]);
  } finally {
    stop();
  }
}
