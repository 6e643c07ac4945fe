/** Sorts the descriptors that came back from systemd's store by their roles in a session. */
import { readFileSync, readlinkSync } from 'node:fs';
import { native, type OwnedFd } from '../../native/binding.ts';
import { closeSocket } from '../../native/close-socket.ts';
import type { StoredFds } from '../../systemd/activation.ts';
import { SessionFile, type SessionSnapshot, sessionFileName } from './session-file.ts';

/** A session of an earlier start. The receiver owns its descriptors. */
export interface StoredSession {
  readonly id: number;
  readonly file: SessionFile;
  readonly snapshot: SessionSnapshot;
  readonly caller: OwnedFd;
  /** The store gets all of an engine's descriptors at once, before the engine gets its request. */
  readonly engine: StoredEngine | undefined;
}

export interface StoredEngine {
  readonly pidfd: OwnedFd;
  readonly stderr: OwnedFd;
  /** Our end of the engine's connection; undefined if the engine has the caller's own connection. */
  readonly socket: OwnedFd | undefined;
}

/** @returns undefined if the descriptors do not form a session. Descriptors without a role are closed. */
export function sortStored(id: number, { own, engines }: StoredFds): StoredSession | undefined {
  const links = linksOf(own);
  const state = findBy(links, (link) => link.startsWith(`/memfd:${sessionFileName}`));
  const file = state && SessionFile.again(state);
  const snapshot = file && readSnapshot(file);
  const caller = snapshot && findBy(links, (link) => link === `socket:[${snapshot.callerInode}]`);
  const isSession = file && snapshot && caller;
  closeAllBut(isSession ? [file.fd, caller] : [], links);
  // An engine that the page does not name was not sent the request yet, or belongs to an earlier request.
  const named = isSession ? snapshot.engine?.serial : undefined;
  for (const [serial, fds] of engines) if (serial !== named) closeAllBut([], linksOf(fds));
  if (!isSession) return undefined;
  return { id, file, snapshot, caller, engine: sortEngine(engines.get(named ?? 0) ?? [], snapshot) };
}

function sortEngine(fds: readonly OwnedFd[], { engineInode }: SessionSnapshot): StoredEngine | undefined {
  const links = linksOf(fds);
  const pidfd = findBy(links, (link, fd) => link.includes('pidfd') || isPidfd(fd));
  const stderr = findBy(links, (link) => link.startsWith('/memfd:criu-stderr'));
  const socket = findBy(links, (link) => link === `socket:[${engineInode}]`);
  const engine = pidfd && stderr ? { pidfd, stderr, socket } : undefined;
  closeAllBut(engine ? [pidfd, stderr, socket] : [], links);
  return engine;
}

/** The link of each descriptor, which tells its kind. */
type Links = ReadonlyMap<OwnedFd, string>;

function linksOf(fds: readonly OwnedFd[]): Links {
  return new Map(fds.map((fd) => [fd, readlinkSync(`/proc/self/fd/${fd.number}`)]));
}

function findBy(links: Links, matches: (link: string, fd: OwnedFd) => boolean): OwnedFd | undefined {
  for (const [fd, link] of links) if (matches(link, fd)) return fd;
  return undefined;
}

/** Closes sockets by closeSocket: the queue of a connection may hold descriptors of its peer, whose last close can block. */
function closeAllBut(taken: readonly (OwnedFd | undefined)[], links: Links): void {
  for (const [fd, link] of links) {
    if (taken.includes(fd)) continue;
    if (link.startsWith('socket:')) closeSocket(native.adopt(fd));
    else fd.close();
  }
}

function readSnapshot(file: SessionFile): SessionSnapshot | undefined {
  try {
    return file.read();
  } catch {
    return undefined;
  }
}

/**
 * The fdinfo of a pidfd has the line `Pid:` since Linux 5.4. Its link is `pidfd:[INODE]` since 6.9, where it is a file of pidfs.
 */
function isPidfd(fd: OwnedFd): boolean {
  return /^Pid:/m.test(readFileSync(`/proc/self/fdinfo/${fd.number}`, 'latin1'));
}
