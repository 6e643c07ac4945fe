/** Describes a process and its owner in words. */
import { readFileSync } from 'node:fs';
import { statusField } from '../proc/status.ts';
import { userName } from '../proc/users.ts';
import { sanitize } from '../systemd/log.ts';

export { userName };

/** A process and its owner. */
export interface Person {
  readonly pid: number;
  readonly uid: number;
  readonly user: string;
  readonly name: string;
}

/** @param pid of a process or a thread. @returns undefined if there is none. */
export function lookAt(pid: number): Person | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const uid = Number(statusField(status, 'Uid')?.split(/\s/)[0]);
    const name = sanitize(status.slice('Name:\t'.length, status.indexOf('\n')));
    return { pid, uid, user: userName(uid), name };
  } catch {
    return undefined;
  }
}
