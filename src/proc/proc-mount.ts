/**
 * Tells from which callers /proc hides processes (hidepid= and gid= of proc(5)). This service sees all processes, and must not
 * disclose their existence to callers that cannot. A confined caller is in this service's mount namespace, so its /proc is the
 * same.
 */
import { readFileSync } from 'node:fs';

export interface ProcMount {
  /** True if other users' processes are hidden from a process with these groups. */
  hidesFrom(groups: readonly number[]): boolean;
  /** Reads the mount table again, because /proc may have been remounted. */
  refresh(): void;
}

/** The options of the mount: whether it hides processes, and the group that is exempt. */
export interface Hiding {
  readonly hides: boolean;
  readonly exceptGid: number;
}

/** @param mountinfo see proc_pid_mountinfo(5): the last line for a mount point is the visible mount. */
export function parseHiding(mountinfo: string): Hiding {
  const options = mountinfo
    .split('\n')
    .map((line) => line.split(' - '))
    .filter(([before]) => before?.split(' ')[4] === '/proc')
    .at(-1)?.[1]
    ?.split(' ')[2]
    ?.split(',');
  // Fails closed: without a mount line, processes are taken as hidden.
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
