/** Names of a job's checkpoints, and which of them go. Pure. */

/** A checkpoint in the making is beside the others, and gets its number when it is complete. */
export function asideName(number: number): string {
  return `.new-${number}`;
}

export function numberOfAside(name: string): number | undefined {
  const [, number] = /^\.new-([1-9]\d{0,8})$/.exec(name) ?? [];
  return number === undefined ? undefined : Number(number);
}

/** @returns the numbers of complete checkpoints, the oldest first. */
export function numbersOf(names: readonly string[]): number[] {
  return names
    .filter((name) => /^[1-9]\d{0,8}$/.test(name))
    .map(Number)
    .sort((one, other) => one - other);
}

/** The number of the next checkpoint: no number comes twice, also after an older one was resumed. */
export function nextNumber(names: readonly string[]): number {
  const asides = names.flatMap((name) => numberOfAside(name) ?? []);
  return Math.max(0, ...numbersOf(names), ...asides) + 1;
}

/** The checkpoints to try, the best first: the latest, then older ones, the newest of them first. */
export function candidates(numbers: readonly number[], latest: number | undefined): number[] {
  const newest = latest !== undefined && numbers.includes(latest) ? latest : numbers.at(-1);
  return newest === undefined ? [] : numbers.filter((number) => number <= newest).toReversed();
}

/**
 * The checkpoints that go when `keep` of them stay. The latest always stays, and so do those that others need.
 * @param parentOf the checkpoint whose memory this one leaves out.
 */
export function superfluous(
  numbers: readonly number[],
  keep: number,
  latest: number,
  parentOf: (number: number) => number | undefined = () => undefined,
): number[] {
  const others = numbers.filter((number) => number !== latest);
  const stay = new Set([latest, ...others.slice(Math.max(0, others.length - Math.max(0, keep - 1)))]);
  // A set is walked through with what is added on the way.
  for (const number of stay) {
    const parent = parentOf(number);
    if (parent !== undefined) stay.add(parent);
  }
  return others.filter((number) => !stay.has(number));
}

/** A checkpoint and those that it needs, the oldest first. */
export function chainOf(number: number, parentOf: (number: number) => number | undefined): number[] {
  const chain = new Set<number>();
  for (let each: number | undefined = number; each !== undefined && !chain.has(each); each = parentOf(each))
    chain.add(each);
  return [...chain].toReversed();
}
