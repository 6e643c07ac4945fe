/** Whether a job's command ended because of a signal. Pure. */
import type { End } from './end.ts';

/** As a shell has it: a program that handles a signal may leave with this and the signal's number. */
const bySignal = 128;

/** @param signals numbers of signals that have come. */
export function isEndBy(end: End, signals: ReadonlySet<number>): boolean {
  return signals.has(end.kind === 'signalled' ? end.signal : end.code - bySignal);
}
