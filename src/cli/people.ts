/** Describes a process and its owner in words. */
import { readFileSync } from 'node:fs';
import { statusField } from '../proc/status.ts';
import { sanitize } from '../systemd/log.ts';

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

/** Looks only into /etc/passwd: the name is for a sentence, which is not worth waiting for a name service. */
export function userName(uid: number): string {
  try {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((each) => each.split(':')[2] === String(uid));
    return line?.split(':')[0] ?? `uid ${uid}`;
  } catch {
    return `uid ${uid}`;
  }
}
