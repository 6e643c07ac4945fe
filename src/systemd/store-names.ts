/** What the names in systemd's store take together: all of them are one environment variable of the next start (fd-store.ts). */

/** The longest string that execve(2) takes, less what is not ours in it (MAX_ARG_STRLEN, 32 pages of 4 KiB). */
const longestNames = 32 * 4096 - 1024;

/**
 * How many sessions can be kept, with two descriptors each, and three for each of so many engines: one whose names do not fit into
 * LISTEN_FDNAMES keeps every next start from being executed (E2BIG). However long this service has been there.
 */
export function mostSessions(engines: number): number {
  const session = 'session-1234567890:'.length;
  const engine = 'session-1234567890.1234:'.length;
  return Math.max(0, Math.floor((longestNames - 3 * engine * engines) / (2 * session)));
}
