/**
 * The user that a connection counts for, known as soon as it is accepted: limits are per user, so a user must not be able to
 * count as many.
 *
 * SO_PEERCRED gives the uid that this user namespace knows the caller by. A user with a range of subordinate uids (subuid(5)) has
 * 65,536 such uids in user namespaces of their own, so all callers from other user namespaces count as the same user.
 *
 * The namespace is recognized by /proc/PID/uid_map (user_namespaces(7)). Opening that file needs only the task's credentials
 * (proc_id_map_open in fs/proc/base.c). The links in /proc/PID/ns would wait for a caller inside execve(2), which may wait for a
 * file system that never answers. The map is shown relative to our namespace, so the same content means that all uids are the
 * same as here. Only root can create another namespace with such a map, and its callers rightly count under their uids.
 */
import { readFileSync } from 'node:fs';
import type { SeqpacketSocket } from '../native/binding.ts';
import { parseThreadStatus, statusField } from './status.ts';

/**
 * A uid, or `strangers` for all callers whose uid says nothing: callers in other user namespaces, and callers that are invisible
 * or have gone.
 */
export type UserKey = number | 'strangers';

export interface ConnectionUser {
  readonly pid: number;
  readonly uid: number;
  readonly key: UserKey;
  /** The caller lives in another user namespace, and is not served. */
  readonly foreign: boolean;
}

let ownMap: string | undefined;

/** Reads only files that the caller cannot make block. */
export function userOf(socket: SeqpacketSocket): ConnectionUser {
  const { pid, uid } = socket.peerCredentials();
  const stranger = { pid, uid, key: 'strangers', foreign: false } as const;
  // The caller is in a pid namespace that is invisible here, or has gone. Without SO_PEERPIDFD (Linux < 6.5) only root is served
  // anyway.
  const map = socket.peerUidMap();
  if (map === undefined) return stranger;
  ownMap ??= readFileSync('/proc/self/uid_map', 'latin1');
  return map === ownMap ? { pid, uid, key: uid, foreign: false } : { ...stranger, foreign: true };
}

/**
 * True for a process with uid 0 that looks like root of this machine, not of a container: it has all of this service's
 * capabilities, and is in no child pid namespace. This is less than the judgement of its standing, and enough for resources that
 * are reserved for root.
 * @param pid may belong to another process by now.
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

/** The number of pid namespaces of a process, from /proc's own namespace downwards (NSpid, Linux 4.1). */
function nesting(status: string): number | undefined {
  return statusField(status, 'NSpid')?.split(/\s+/).length;
}
