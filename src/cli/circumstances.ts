/** The rights of this process that decide about a restore. */
import type { Circumstances } from '../images/verdicts.ts';

export function circumstances(): Circumstances {
  return {
    uid: process.geteuid?.() ?? -1,
    gid: process.getegid?.() ?? -1,
    groups: process.getgroups?.() ?? [],
  };
}
