/** CRIU's statistics, as lines for a person. */
import type { DumpStatistics, RestoreStatistics } from '../client/statistics.ts';
import { inBytes, inTime } from './words.ts';

export function dumpSummary(bytes: number, statistics: DumpStatistics | undefined): string[] {
  if (!statistics) return [`images         ${inBytes(bytes)}`];
  const { frozenUsec, freezingUsec, pagesWritten, pagesScanned, pagesSkippedParent } = statistics;
  const skipped = pagesSkippedParent > 0 ? `, ${pagesSkippedParent} unchanged since the images before` : '';
  return [
    `frozen for     ${inTime(frozenUsec)}, after ${inTime(freezingUsec)} of freezing`,
    `pages written  ${pagesWritten} of ${pagesScanned}${skipped}`,
    `images         ${inBytes(bytes)}`,
  ];
}

export function restoreSummary(statistics: RestoreStatistics | undefined): string[] {
  if (!statistics) return [];
  const { restoreUsec, forkingUsec, pagesRestored } = statistics;
  return [
    `restored in     ${inTime(restoreUsec)}, ${inTime(forkingUsec)} of it for forking`,
    `pages restored  ${pagesRestored}`,
  ];
}
