/**
 * systemd's file descriptor store (FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax= of systemd.service(5)): what a session needs
 * to go on stays with systemd, and comes back in LISTEN_FDS to the next start of this service, however this one ended.
 *
 * All descriptors of a session have one name; what each of them is, they tell themselves. Names are short, because all of them
 * together are one environment variable of the next start.
 */
import { native, type OwnedFd } from '../socket/binding.ts';

/** Where the descriptors of a session are kept while it is at work. */
export interface FdStore {
  /** False where nothing is ever kept. */
  readonly keeps: boolean;
  /** @returns false where nothing is kept: without systemd, or when it cannot be told. Copies; the owner keeps its own. */
  keep(session: string, fds: readonly OwnedFd[]): boolean;
  /** Forgets a session's descriptors. To be called before the last of them is closed here, and after the connection was shut down. */
  drop(session: string): void;
}

const prefix = 'session-';

/** @returns the session whose descriptor has this name; undefined for any other, the listening socket's among them. */
export function sessionOf(fdName: string): string | undefined {
  return /^session-([0-9]+)$/.exec(fdName)?.[1];
}

export function createFdStore(environment: NodeJS.ProcessEnv): FdStore {
  if (!environment.NOTIFY_SOCKET || environment.LISTEN_FDS === undefined) {
    return { keeps: false, keep: () => false, drop() {} };
  }
  const tell = (state: string, fds: readonly OwnedFd[]): boolean => {
    try {
      return native.notify(state, fds) === 1;
    } catch {
      // A session that is not kept is served all the same.
      return false;
    }
  };
  return {
    keeps: true,
    // FDPOLL=0: systemd would drop a connection whose other end has hung up, with an answer still unread in it.
    keep: (session, fds) => tell(`FDSTORE=1\nFDNAME=${prefix}${session}\nFDPOLL=0`, fds),
    drop: (session) => tell(`FDSTOREREMOVE=1\nFDNAME=${prefix}${session}`, []),
  };
}
