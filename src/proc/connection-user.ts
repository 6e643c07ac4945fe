/**
 * For whom a connection counts, known as soon as it is accepted: limits are per user, and a user must not be able to be many.
 *
 * SO_PEERCRED gives the uid that this user namespace knows the caller by. Somebody with a range of subordinate uids
 * (subuid(5)) is 65,536 such uids in user namespaces of their own, so all callers of other ones count as one user.
 *
 * The namespace is told by /proc/PID/uid_map (user_namespaces(7)). Opening that takes nothing but the task's credentials
 * (proc_id_map_open in fs/proc/base.c), while the links in /proc/PID/ns wait for a caller that is inside execve(2), which may
 * wait for a file system that never answers. What is read is relative to our namespace, so that only a namespace in which all
 * uids are what they are here reads the same; root alone can make one, and there they count as what they are.
 */
import { readFileSync } from 'node:fs';
import type { SeqpacketSocket } from '../native/binding.ts';
import { parseThreadStatus, statusField } from './status.ts';

/** A uid, or everybody whose uid says nothing: callers of other user namespaces, and those that cannot be seen or have gone. */
export type UserKey = number | 'strangers';

export interface ConnectionUser {
  readonly pid: number;
  readonly uid: number;
  readonly key: UserKey;
  /** It lives in another user namespace, and is not served. */
  readonly foreign: boolean;
}

let ownMap: string | undefined;

/** Reads nothing that its caller could make block. */
export function userOf(socket: SeqpacketSocket): ConnectionUser {
  const { pid, uid } = socket.peerCredentials();
  const stranger = { pid, uid, key: 'strangers', foreign: false } as const;
  // It is in no pid namespace that we see into, or it has gone. Without SO_PEERPIDFD (Linux < 6.5) nobody but root is served anyway.
  const map = socket.peerUidMap();
  if (map === undefined) return stranger;
  ownMap ??= readFileSync('/proc/self/uid_map', 'latin1');
  return map === ownMap ? { pid, uid, key: uid, foreign: false } : { ...stranger, foreign: true };
}

/**
 * True when a process with uid 0 looks like root and not like the root of a container: all of this service's capabilities,
 * and in no pid namespace below. Less than what decides how it is served, and enough for what is reserved for root.
 * @param pid whoever has it by now.
 */
export function looksLikeRoot(pid: number): boolean {
  try {
    const theirs = readFileSync(`/proc/${pid}/status`, 'latin1');
    const ours = readFileSync('/proc/self/status', 'latin1');
    const { uids, effective } = parseThreadStatus(theirs);
    const needed = parseThreadStatus(ours).effective;
    return (
      uids.every((uid) => uid === 0) && (effective & needed) === needed && nesting(theirs) === nesting(ours)
    );
  } catch {
    return false;
  }
}

/** How many pid namespaces a process is in, from the one that /proc belongs to downwards (NSpid, Linux 4.1). */
function nesting(status: string): number | undefined {
  return statusField(status, 'NSpid')?.split(/\s+/).length;
}
