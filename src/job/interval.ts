/**
 * The interval of checkpoints that costs the least, from the cost of a checkpoint and the mean time between failures: J. T. Daly, "A higher
 * order estimate of the optimum checkpoint interval for restart dumps" (2006), which for a small cost is Young's square root (1974).
 * Pure.
 */

/** The mean time between failures of a machine, in seconds: a reboot, a preemption or a fault each day. */
export const usualMeanTime = 86_400;

const least = 60;

/**
 * @param cost of a checkpoint, in seconds: the time for which the program does not go on.
 * @param mean time between failures, in seconds.
 * @returns seconds between the end of a checkpoint and the beginning of the next.
 */
export function optimumInterval(cost: number, mean: number = usualMeanTime): number {
  if (cost >= 2 * mean) return mean;
  const ratio = cost / (2 * mean);
  const optimum = Math.sqrt(2 * cost * mean) * (1 + Math.sqrt(ratio) / 3 + ratio / 9) - cost;
  return Math.max(least, Math.round(optimum));
}
