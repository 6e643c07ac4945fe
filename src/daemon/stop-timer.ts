/**
 * How long a stop may take. systemd is asked for more time (EXTEND_TIMEOUT_USEC= of sd_notify(3)) for as long as engines are at
 * work, but not for ever: a caller that answers no notification must not hold up a reboot.
 */
import type { Notifier } from '../systemd/notifier.ts';

/** How often more time is asked for, and how much. */
const intervalMs = 5000;
const extensionMs = 30_000;

export interface StopHandlers {
  /** Time is up: whoever is still at work is to roll back. */
  readonly onOverdue: () => void;
  /** And has not done so. */
  readonly onEnd: () => void;
}

/** @returns ends it. */
export function startStopTimer(
  notifier: Notifier,
  stopMs: number,
  rollbackMs: number,
  { onOverdue, onEnd }: StopHandlers,
): () => void {
  const extend = (): void => notifier.extendTimeout(extensionMs);
  extend();
  const interval = setInterval(extend, intervalMs);
  let timer = setTimeout(() => {
    onOverdue();
    timer = setTimeout(onEnd, rollbackMs);
  }, stopMs);
  return () => {
    clearInterval(interval);
    clearTimeout(timer);
  };
}
