/** What a process sleeps in, as the kernel tells it. */
import { readFileSync } from 'node:fs';

/**
 * @param line of /proc/PID/syscall, see proc_pid_syscall(5): the number of a system call and its arguments, or `running`. A process
 * that was stopped in a call shows that call, too.
 * @param status of /proc/PID/status
 * @returns whether it sleeps in a call whose first argument is the descriptor `fd`. Of those that CRIU sleeps in, only the calls that
 * read its connection have a small first argument.
 */
export function isSleepOn(line: string, status: string, fd: number): boolean {
  // A newline is escaped in the name that a process gives itself, and nothing else is.
  return status.includes('\nState:\tS') && new RegExp(`^\\d+ 0x${fd.toString(16)} `).test(line);
}

/** @returns false when a reading in /proc failed because the process has ended; undefined when it must not be read, so that nothing is known. */
export function unlessEnded(code: string | undefined): false | undefined {
  return code === 'ENOENT' || code === 'ESRCH' ? false : undefined;
}

/** @returns false for a process that has ended, too; undefined where a security module (Yama's ptrace_scope 3) lets nobody see. */
export function sleepsOn(pid: number, fd: number): boolean | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return isSleepOn(readFileSync(`/proc/${pid}/syscall`, 'latin1'), status, fd);
  } catch (error) {
    return unlessEnded((error as NodeJS.ErrnoException).code);
  }
}
