/** The watchdog of systemd (WatchdogSec= of systemd.service(5)): systemd restarts a service whose event loop has stopped. */
import type { Notifier } from './notifier.ts';

/**
 * @returns milliseconds between two keep-alives, half of systemd's timeout, as sd_watchdog_enabled(3) advises; undefined if
 * systemd expects no keep-alive of this process.
 */
export function watchdogIntervalMs(environment: NodeJS.ProcessEnv, pid: number): number | undefined {
  const usec = Number(environment.WATCHDOG_USEC);
  const meant = environment.WATCHDOG_PID === undefined || Number(environment.WATCHDOG_PID) === pid;
  return Number.isSafeInteger(usec) && usec > 0 && meant ? Math.max(1, Math.floor(usec / 2000)) : undefined;
}

/** Sent from the event loop itself, so that they stop if it stops. */
export function startWatchdog(environment: NodeJS.ProcessEnv, notifier: Notifier): void {
  const intervalMs = watchdogIntervalMs(environment, process.pid);
  if (intervalMs !== undefined) setInterval(() => notifier.watchdog(), intervalMs).unref();
}
