/** The directories of the rounds of a live dump, below that of the dump. */

/** @param number from 1. */
export function roundName(number: number): string {
  return `round-${number}`;
}

export function isRoundName(name: string): boolean {
  return /^round-[1-9]\d*$/.test(name);
}
