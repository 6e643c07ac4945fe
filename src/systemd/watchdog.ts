/** The watchdog of systemd (WatchdogSec= of systemd.service(5)): a service whose event loop has stopped is started anew. */
import type { Notifier } from './notifier.ts';

/**
 * @returns milliseconds between two signs of life, half of what systemd waits for, as sd_watchdog_enabled(3) advises; undefined
 * where it waits for none of this process.
 */
export function watchdogIntervalMs(environment: NodeJS.ProcessEnv, pid: number): number | undefined {
  const usec = Number(environment.WATCHDOG_USEC);
  const meant = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === pid;
  return Number.isSafeInteger(usec) && usec > 0 && meant ? Math.max(1, Math.floor(usec / 2000)) : undefined;
}

/** From the event loop itself, so that they stop when it does. */
export function startWatchdog(environment: NodeJS.ProcessEnv, notifier: Notifier): void {
  const intervalMs = watchdogIntervalMs(environment, process.pid);
  if (intervalMs !== undefined) setInterval(() => notifier.watchdog(), intervalMs).unref();
}
