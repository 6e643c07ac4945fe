/**
 * From whom /proc hides processes (hidepid= and gid= of proc(5)). This service sees them all, and must not tell whoever does not what
 * is there. A confined caller is in this service's mount namespace, so that its /proc is this one.
 */
import { readFileSync } from 'node:fs';

export interface ProcMount {
  /** Whether what is not one's own is hidden from a process with these groups. */
  hidesFrom(groups: readonly number[]): boolean;
  /** It may be mounted anew. */
  refresh(): void;
}

/** Whether anything is hidden, and the group from which nothing is. */
export interface Hiding {
  readonly hides: boolean;
  readonly exceptGid: number;
}

/** @param mountinfo see proc_pid_mountinfo(5): the last line for a mount point is what is seen there. */
export function parseHiding(mountinfo: string): Hiding {
  const options = mountinfo
    .split('\n')
    .map((line) => line.split(' - '))
    .filter(([before]) => before?.split(' ')[4] === '/proc')
    .at(-1)?.[1]
    ?.split(' ')[2]
    ?.split(',');
  // What cannot be found is taken for hidden.
  if (!options) return { hides: true, exceptGid: 0 };
  const value = (name: string): string | undefined =>
    options.find((option) => option.startsWith(`${name}=`))?.slice(name.length + 1);
  const hidepid = value('hidepid') ?? 'off';
  return { hides: hidepid !== 'off' && hidepid !== '0', exceptGid: Number(value('gid') ?? 0) };
}

export class OwnProcMount implements ProcMount {
  #hiding: Hiding = { hides: true, exceptGid: 0 };

  constructor() {
    this.refresh();
  }

  hidesFrom(groups: readonly number[]): boolean {
    return this.#hiding.hides && !groups.includes(this.#hiding.exceptGid);
  }

  refresh(): void {
    this.#hiding = parseHiding(readFileSync('/proc/self/mountinfo', 'latin1'));
  }
}
