/**
 * systemd's file descriptor store (FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax= of systemd.service(5)): what a session needs
 * to go on stays with systemd, and comes back in LISTEN_FDS to the next start of this service, however this one ended.
 *
 * A session has one name, and each of its engines another one: systemd takes a file only once, whatever it is called, and forgets
 * all of one name together. What each descriptor is it tells itself. Names are short, because all of them together are one
 * environment variable of the next start.
 */
import { native, type OwnedFd } from '../native/binding.ts';

/** Whose descriptors: a session's own, or those of one of its engines. */
export interface StoreName {
  readonly session: number;
  /** Which engine of the session, counted from 1; undefined for what is the session's. */
  readonly engine?: number | undefined;
}

/** Where the descriptors of a session are kept while it is at work. */
export interface FdStore {
  /** False where nothing is ever kept. */
  readonly keeps: boolean;
  /**
   * A promise where systemd cannot be told at once. Copies; the owner keeps its own.
   * @returns false where nothing is kept: without systemd, or when it cannot be told.
   */
  keep(name: StoreName, fds: readonly OwnedFd[]): boolean | Promise<boolean>;
  /**
   * Forgets all of one name, once everything before was told. To be called before the last of them is closed here, and after the
   * connection was shut down.
   */
  drop(name: StoreName): void;
  /** When systemd was told everything so far. */
  told(): Promise<void>;
}

/** @returns undefined for a descriptor that is no session's, as the listening socket. */
export function parseStoreName(fdName: string): StoreName | undefined {
  const [, session, engine] = /^session-([0-9]+)(?:\.([0-9]+))?$/.exec(fdName) ?? [];
  if (session === undefined) return undefined;
  return { session: Number(session), ...(engine === undefined ? {} : { engine: Number(engine) }) };
}

function format({ session, engine }: StoreName): string {
  return engine === undefined ? `session-${session}` : `session-${session}.${engine}`;
}

export function createFdStore(environment: NodeJS.ProcessEnv): FdStore {
  if (!environment.NOTIFY_SOCKET || environment.LISTEN_FDS === undefined) {
    return { keeps: false, keep: () => false, drop() {}, told: async () => {} };
  }
  let last: Promise<boolean> = Promise.resolve(true);
  const tell = (state: string, fds: readonly OwnedFd[]): boolean | Promise<boolean> => {
    try {
      if (native.notifyNow(state, fds)) return true;
      // A session that is not kept is served all the same.
      last = native.notifyElsewhere(state, fds).catch(() => false);
      return last;
    } catch {
      return false;
    }
  };
  return {
    keeps: true,
    // FDPOLL=0: systemd would drop a connection whose other end has hung up, with an answer still unread in it.
    keep: (name, fds) => tell(`FDSTORE=1\nFDNAME=${format(name)}\nFDPOLL=0`, fds),
    drop: (name) => tell(`FDSTOREREMOVE=1\nFDNAME=${format(name)}`, []),
    // They are told in their order.
    told: async () => {
      await last;
    },
  };
}
