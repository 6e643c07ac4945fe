/** The pid that a restore needs and another process has. Pure. */
import { constants as os } from 'node:os';
import { type CriuResp, ReqType } from '../protocol/messages.ts';

/** True if the final reply of an engine says that a restore needs a pid which is taken (fork_with_pid in criu/cr-restore.c). */
export function needsTakenPid({ type, success, cr_errno }: CriuResp): boolean {
  return !success && type === ReqType.RESTORE && cr_errno === os.errno.EEXIST;
}

/**
 * CRIU's line is "Can't fork for 4711: File exists". A confined engine can send any number.
 * @param lines a message or error lines of CRIU.
 * @returns undefined without such a line.
 */
export function takenPidIn(...lines: readonly string[]): number | undefined {
  const [, pid] = /Can't fork for (\d{1,10}): File exists/.exec(lines.join('\n')) ?? [];
  return pid === undefined ? undefined : Number(pid);
}
