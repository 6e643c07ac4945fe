/**
 * The audit session of a process (proc(5), `sessionid`): a new number that the kernel assigns each time a login uid is written
 * (audit_set_loginuid in its kernel/auditsc.c). Fork and exec keep the session. Once a login uid is set, changing it takes
 * CAP_AUDIT_CONTROL. Each engine of a user has its own session (native/launcher/traits.cc), and so do all processes that descend
 * from that engine.
 */
import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';

const unset = 4294967295;

/** The unit of field 22 of proc_pid_stat(5): USER_HZ, the same on every machine that CRIU runs on. */
const ticksPerSecond = 100;

/**
 * @param pid must still belong to the intended process: an unreaped child, or a process whose pidfd is checked afterwards.
 * @returns undefined where the process has no session of its own: on a kernel without audit, and where the launcher could not
 * write a login uid.
 */
export function auditSessionOf(pid: number): number | undefined {
  const session = read(pid);
  return session === read('self') ? undefined : session;
}

/** @returns undefined for the number that means "no session". */
export function parseAuditSession(text: string): number | undefined {
  const session = Number(text);
  return text.trim() === '' || !Number.isInteger(session) || session === unset ? undefined : session;
}

/**
 * The current time on the scale of process start times, minus a tick: processes that start from now on have this time or a later
 * one, and so may a process that started up to a tick earlier.
 */
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
