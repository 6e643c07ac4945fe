/** Adopts the listening socket from systemd (sd_listen_fds(3)), and checks it before anything is accepted. */
import { constants as os } from 'node:os';
import { type ListenFd, native, type OwnedFd, type SeqpacketSocket } from '../native/binding.ts';
import { parseStoreName } from './fd-store.ts';

/** The service cannot start; systemd gets `errno` by ERRNO=. */
export class StartError extends Error {
  override readonly name = 'StartError';
  readonly errno: number;

  constructor(errno: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.errno = errno;
  }
}

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;

export interface Activation {
  readonly listener: SeqpacketSocket;
  /** Descriptors of earlier starts in the store, by session ids. */
  readonly stored: ReadonlyMap<number, StoredFds>;
}

/** All descriptors of a session, in any order. */
export interface StoredFds {
  readonly own: readonly OwnedFd[];
  /** Descriptors of the session's engines, by engine numbers. */
  readonly engines: ReadonlyMap<number, readonly OwnedFd[]>;
}

/**
 * @returns undefined if the service was started without socket activation (no LISTEN_FDS for this process).
 * @throws StartError unless it is exactly one listening SEQPACKET Unix socket.
 */
export function adoptActivation(environment: NodeJS.ProcessEnv): Activation | undefined {
  // LISTEN_FDS=0 for us is activation without a socket, which is an error; an absent LISTEN_FDS is no activation.
  const activated = environment.LISTEN_FDS !== undefined && Number(environment.LISTEN_PID) === process.pid;
  if (!activated) return undefined;
  // libsystemd reports LISTEN_FDS=0 as a wrong argument.
  const all = Number(environment.LISTEN_FDS) > 0 ? native.listenFds() : [];
  const passed = all.filter(({ name }) => parseStoreName(name) === undefined);
  const fail = (errno: number, message: string): never => {
    for (const { fd } of all) fd.close();
    throw new StartError(errno, message);
  };
  const [first] = passed;
  if (passed.length !== 1 || !first) {
    return fail(
      os.errno.EINVAL,
      `systemd passed ${passed.length} sockets, and exactly one is needed: one ListenSequentialPacket= in criu.socket`,
    );
  }
  const kind = native.describeSocket(first.fd);
  if (!kind) return fail(os.errno.ENOTSOCK, `What systemd passed as ${first.name} is no socket`);
  if (kind.family !== AF_UNIX || kind.type !== SOCK_SEQPACKET) {
    return fail(
      os.errno.EPROTOTYPE,
      `The socket that systemd passed as ${first.name} is no SEQPACKET Unix socket`,
    );
  }
  if (!kind.listening)
    return fail(os.errno.EINVAL, `The socket that systemd passed as ${first.name} does not listen`);
  return { listener: native.adopt(first.fd), stored: bySession(all) };
}

/** {@link StoredFds} under construction. */
interface Sorted {
  readonly own: OwnedFd[];
  readonly engines: Map<number, OwnedFd[]>;
}

function bySession(passed: readonly ListenFd[]): ReadonlyMap<number, StoredFds> {
  const stored = new Map<number, Sorted>();
  for (const { fd, name } of passed) {
    const whose = parseStoreName(name);
    if (!whose) continue;
    const session: Sorted = stored.get(whose.session) ?? { own: [], engines: new Map() };
    stored.set(whose.session, session);
    if (whose.engine === undefined) session.own.push(fd);
    else session.engines.set(whose.engine, [...(session.engines.get(whose.engine) ?? []), fd]);
  }
  return stored;
}
