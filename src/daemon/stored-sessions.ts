/** Descriptors that came back from systemd's store, sorted into what each of them is to its session. */
import { readFileSync, readlinkSync } from 'node:fs';
import { native, type OwnedFd } from '../socket/binding.ts';
import { closeSocket } from './connection.ts';
import { SessionFile, type SessionSnapshot, sessionFileName } from './session-file.ts';

/** A session of an earlier start. Whoever takes it owns its descriptors. */
export interface StoredSession {
  readonly id: number;
  readonly file: SessionFile;
  readonly snapshot: SessionSnapshot;
  readonly caller: OwnedFd;
  /** All three or none: they are stored together, before the engine gets its request. */
  readonly engine:
    | { readonly pidfd: OwnedFd; readonly stderr: OwnedFd; readonly socket: OwnedFd | undefined }
    | undefined;
}

/**
 * @param fds all that were stored under one session's name.
 * @returns undefined when they do not make a session; they are closed then.
 */
export function sortStored(id: number, fds: readonly OwnedFd[]): StoredSession | undefined {
  const links = new Map(fds.map((fd) => [fd, readlinkSync(`/proc/self/fd/${fd.number}`)]));
  const find = (matches: (link: string, fd: OwnedFd) => boolean): OwnedFd | undefined =>
    fds.find((fd) => matches(links.get(fd)!, fd));
  const state = find((link) => link.startsWith(`/memfd:${sessionFileName}`));
  const file = state && SessionFile.again(state);
  const snapshot = file && readSnapshot(file);
  const caller = snapshot && find((link) => link === `socket:[${snapshot.callerInode}]`);
  if (!file || !snapshot || !caller) {
    for (const fd of fds) closeSafely(fd, links.get(fd)!);
    return undefined;
  }
  const pidfd = find((link, fd) => link.includes('pidfd') || isPidfd(fd));
  const stderr = find((link) => link.startsWith('/memfd:criu-stderr'));
  const socket = find((link) => link === `socket:[${snapshot.engineInode}]`);
  // One that was abandoned may still be among them, and is nobody's any more.
  const engine = snapshot.engine && pidfd && stderr ? { pidfd, stderr, socket } : undefined;
  const taken = new Set([file.fd, caller, ...(engine ? [pidfd, stderr, socket] : [])]);
  for (const fd of fds) if (!taken.has(fd)) closeSafely(fd, links.get(fd)!);
  return { id, file, snapshot, caller, engine };
}

/** The queue of a connection may hold descriptors of its peer's, whose last close can block. */
function closeSafely(fd: OwnedFd, link: string): void {
  if (link.startsWith('socket:')) closeSocket(native.adopt(fd));
  else fd.close();
}

function readSnapshot(file: SessionFile): SessionSnapshot | undefined {
  try {
    return file.read();
  } catch {
    return undefined;
  }
}

/** Since Linux 6.9 a pidfd is a file of pidfs, and its link says `pidfd:[INODE]`; its fdinfo has said `Pid:` since 5.4. */
function isPidfd(fd: OwnedFd): boolean {
  return /^Pid:/m.test(readFileSync(`/proc/self/fdinfo/${fd.number}`, 'latin1'));
}
