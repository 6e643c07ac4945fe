/** Tells which system call a process sleeps in. */
import { readFileSync } from 'node:fs';

/**
 * @param line of /proc/PID/syscall, see proc_pid_syscall(5): the number of a system call and its arguments, or `running`. A
 * process that was stopped in a call shows that call, too.
 * @param status of /proc/PID/status
 * @returns true if the process sleeps in a call whose first argument is the descriptor `fd`. Among the calls that CRIU sleeps in,
 * only those that read its connection have a small first argument.
 */
export function isSleepOn(line: string, status: string, fd: number): boolean {
  // The kernel escapes newlines in the process's name, but no other character.
  return status.includes('\nState:\tS') && new RegExp(`^\\d+ 0x${fd.toString(16)} `).test(line);
}

/**
 * @returns false if reading /proc failed because the process has exited; undefined if reading was denied, so that the answer is
 * unknown.
 */
export function unlessEnded(code: string | undefined): false | undefined {
  return code === 'ENOENT' || code === 'ESRCH' ? false : undefined;
}

/**
 * @returns false for a process that has exited, too; undefined where a security module denies the reading (Yama's ptrace_scope
 * 3).
 */
export function sleepsOn(pid: number, fd: number): boolean | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return isSleepOn(readFileSync(`/proc/${pid}/syscall`, 'latin1'), status, fd);
  } catch (error) {
    return unlessEnded((error as NodeJS.ErrnoException).code);
  }
}
