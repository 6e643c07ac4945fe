/**
 * The time limit of a stop. While engines are at work, systemd is asked for more time (EXTEND_TIMEOUT_USEC= of sd_notify(3)), up
 * to this limit: a caller that answers no notification must not hold up a reboot.
 */
import type { Notifier } from '../systemd/notifier.ts';

/** The interval of requests for more time, and the time that each asks for. */
const intervalMs = 5000;
const extensionMs = 30_000;

export interface StopHandlers {
  /** The time for work is up: engines at work must roll back. */
  readonly onOverdue: () => void;
  /** The time for the rollback is up, too. */
  readonly onEnd: () => void;
}

/** @returns a function that stops the timer. */
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
