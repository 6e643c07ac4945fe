/** The length of all names in systemd's store together, which share an environment variable of the next start (fd-store.ts). */

/** The longest string for execve(2) (MAX_ARG_STRLEN, 32 pages of 4 KiB), less a reserve for names of other owners. */
const longestNames = 32 * 4096 - 1024;

/**
 * The number of sessions that can be kept: two descriptors for each session, three for each of `engines` engines. If names do not
 * fit into LISTEN_FDNAMES, no later start can be executed (E2BIG). The estimate holds for any age of the service.
 */
export function mostSessions(engines: number): number {
  const session = 'session-1234567890:'.length;
  const engine = 'session-1234567890.1234:'.length;
  return Math.max(0, Math.floor((longestNames - 3 * engine * engines) / (2 * session)));
}
