/** Whether the next checkpoint has all memory of a job, or only that which has changed since the last one. Pure. */

/** A chain this long is read through, page by page, by a resume; and a damaged link takes all that follow along. */
export const longestChain = 10;

/** Below this, the files of the kernel's objects outweigh the memory. */
export const leastMemory = 8 << 20;

/**
 * @param chain bytes of memory in the last checkpoint and those before that it needs, the oldest first.
 * @param unbroken changes were tracked without interruption since the last checkpoint.
 */
export function goesOnFrom(chain: readonly number[], unbroken: boolean): boolean {
  const [whole, ...increments] = chain;
  if (!unbroken || whole === undefined || chain.length >= longestChain) return false;
  return increments.reduce((sum, each) => sum + each, 0) < whole;
}
