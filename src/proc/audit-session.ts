/**
 * The audit session of a process (proc(5), `sessionid`): a number that the kernel makes anew with each login uid that is written
 * (audit_set_loginuid in its kernel/auditsc.c). Fork and exec keep it, and once a login uid is set nobody changes it without
 * CAP_AUDIT_CONTROL. Each engine of a user has one of its own (native/launcher/traits.cc), and so has all that ever comes out of it.
 */
import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';

const unset = 4294967295;

/** Of field 22 of proc_pid_stat(5): USER_HZ of every machine that CRIU runs on. */
const ticksPerSecond = 100;

/**
 * @param pid one that is still this process's: a child that was not waited for, or one whose pidfd says so afterwards.
 * @returns undefined where it has none that is its own: on a kernel without audit, and where a launcher could write no login uid.
 */
export function auditSessionOf(pid: number): number | undefined {
  const session = read(pid);
  return session === read('self') ? undefined : session;
}

/** @returns undefined for the one that means that there is none. */
export function parseAuditSession(text: string): number | undefined {
  const session = Number(text);
  return text.trim() === '' || !Number.isInteger(session) || session === unset ? undefined : session;
}

/** Now, as processes that are started from now on have it as their start time; those before may, too, by a tick. */
export function ticksNow(): number {
  return Math.max(0, Math.floor(uptime() * ticksPerSecond) - 1);
}

function read(pid: number | 'self'): number | undefined {
  try {
    return parseAuditSession(readFileSync(`/proc/${pid}/sessionid`, 'latin1'));
  } catch {
    return undefined;
  }
}
