/**
 * Where jobs are: a directory for each, of its user's alone, because images hold the memory of its processes.
 *
 * The unit of a job finds it by the name alone, after a reboot too, and the manager that starts the unit has another environment than
 * a shell. So the place does not depend on HOME or XDG_STATE_HOME.
 */
import { userInfo } from 'node:os';
import { join } from 'node:path';

/** @param uid the effective one. */
export function jobsHome(uid: number): string {
  return uid === 0 ? '/var/lib/criu' : join(userInfo().homedir, '.local', 'state', 'criu');
}
