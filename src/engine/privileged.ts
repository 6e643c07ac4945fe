/**
 * Engines for fully privileged callers: CRIU as root.
 *
 * With a socketpair of this service, CRIU's peer is this service, and `images_dir_fd` N means /proc/SERVICE/fd/N. On a
 * handed-over connection the peer is the caller, as with CRIU's own service.
 */
import { constants } from 'node:fs';
import { native, type OwnedFd, type Process, type SeqpacketSocket } from '../native/binding.ts';
import { ReqType } from '../protocol/messages.ts';
import { findCriu, searchPath } from './criu-binary.ts';
import { Engine, type EngineEvents, usualConnection } from './engine.ts';
import { StderrFile } from './stderr-file.ts';

/** A descriptor that the engine gets under a number that the request names (inherit_fd, ps.fd). */
export interface EngineFd {
  readonly source: OwnedFd;
  readonly target: number;
}

export interface PrivilegedEngineOptions {
  /** An absolute path instead of the search for criu. */
  readonly criu?: string | undefined;
}

/**
 * CRIU creates images that all users may read (CR_FD_PERM of criu/include/crtools.h), and they are the memory of root's
 * processes. Files that a restore creates for its tree (directories of cgroups and sockets, mount points) keep the modes that
 * CRIU gives them.
 * @param type of the first request that an engine is for.
 */
export function umaskFor(type: ReqType): number {
  return type === ReqType.RESTORE ? 0o022 : 0o077;
}

/**
 * Starts an engine with a connection of its own.
 * @param engineFds copied; the originals stay with the caller of this function.
 * @throws CriuMissingError, NativeError
 */
export function startRelayedEngine(
  options: PrivilegedEngineOptions,
  umask: number,
  engineFds: readonly EngineFd[],
  events: EngineEvents,
): Engine {
  const { ours, theirs } = native.socketpair();
  try {
    return start(options, umask, theirs, ours, engineFds, events);
  } catch (error) {
    ours.close();
    throw error;
  } finally {
    theirs.close();
  }
}

/**
 * Starts the engine of a dump on the caller's own connection, which must be blocking: CRIU reads it with a plain recv(2).
 * @param connection copied; the original stays with the caller of this function, for the reply if the engine dies.
 * @throws CriuMissingError, NativeError
 */
export function startHandedOverEngine(
  options: PrivilegedEngineOptions,
  connection: OwnedFd,
  events: EngineEvents,
): Engine {
  return start(options, umaskFor(ReqType.DUMP), connection, undefined, [], events);
}

function start(
  options: PrivilegedEngineOptions,
  umask: number,
  connection: OwnedFd,
  ours: SeqpacketSocket | undefined,
  engineFds: readonly EngineFd[],
  events: EngineEvents,
): Engine {
  const file = findCriu(options.criu);
  const taken = new Set(engineFds.map(({ target }) => target));
  let number = usualConnection;
  while (taken.has(number)) number += 1;
  const stderr = new StderrFile('criu-stderr');
  let process: Process;
  const devNull = native.open('/dev/null', constants.O_RDWR);
  try {
    const stdio = [
      { source: devNull, target: 0 },
      // CRIU says on standard output which option may help.
      { source: stderr.fd, target: 1 },
      { source: stderr.fd, target: 2 },
    ];
    process = native.spawn({
      file,
      argv: ['criu', 'swrk', String(number)],
      env: [`PATH=${searchPath.join(':')}`],
      umask,
      fds: [
        ...stdio.filter(({ target }) => !taken.has(target)),
        { source: connection, target: number },
        ...engineFds,
      ],
    });
  } catch (error) {
    stderr.close();
    throw error;
  } finally {
    devNull.close();
  }
  return new Engine(process, ours, stderr, events, number);
}
