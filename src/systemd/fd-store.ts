/**
 * systemd's file descriptor store (FDSTORE=1 of sd_notify(3), FileDescriptorStoreMax= of systemd.service(5)). The state that a
 * session needs to continue stays with systemd, and comes back in LISTEN_FDS to the next start of this service, even after a
 * crash.
 *
 * A session has one name, and each of its engines another. systemd keeps a file once, under its first name, and forgets all
 * descriptors of a name together. The kind of each descriptor is found from the descriptor itself. Names are short, because all
 * of them share an environment variable of the next start.
 */
import { native, type OwnedFd } from '../native/binding.ts';

/** The owner of descriptors in the store: a session, or an engine of it. */
export interface StoreName {
  readonly session: number;
  /** The number of the engine in the session, counted from 1; undefined for the session's own descriptors. */
  readonly engine?: number | undefined;
}

/** Keeps the descriptors of sessions in flight. */
export interface FdStore {
  /** False if the store keeps nothing. */
  readonly keeps: boolean;
  /**
   * Copies the descriptors; the owner keeps its own. Returns a promise if systemd's socket is full.
   * @returns false if nothing is kept: without systemd, or if systemd cannot be told.
   */
  keep(name: StoreName, fds: readonly OwnedFd[]): boolean | Promise<boolean>;
  /**
   * Forgets all descriptors of a name, after all earlier messages. Call it before the last of them is closed here, and after the
   * connection was shut down.
   */
  drop(name: StoreName): void;
  /** Resolves when systemd has got everything so far. */
  told(): Promise<void>;
}

/** @returns undefined for a descriptor of no session, as the listening socket. */
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
      // A session is served even if it cannot be kept.
      last = native.notifyElsewhere(state, fds).catch(() => false);
      return last;
    } catch {
      return false;
    }
  };
  return {
    keeps: true,
    // FDPOLL=0: otherwise systemd would drop a connection whose peer has hung up, with an answer still unread in it.
    keep: (name, fds) => tell(`FDSTORE=1\nFDNAME=${format(name)}\nFDPOLL=0`, fds),
    drop: (name) => tell(`FDSTOREREMOVE=1\nFDNAME=${format(name)}`, []),
    // Messages are sent in order, so the last is enough.
    told: async () => {
      await last;
    },
  };
}
