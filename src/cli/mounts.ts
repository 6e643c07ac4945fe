/**
 * Tells which file systems root can rely on: if a user has brought the file system, that user has chosen its owners and modes.
 */
import { readFileSync } from 'node:fs';

/** A line of /proc/self/mountinfo, proc_pid_mountinfo(5). */
export interface Mount {
  readonly point: string;
  readonly options: readonly string[];
  readonly type: string;
}

/** The kernel fills these file systems itself, or they are empty at first. They are often mounted nosuid. */
const madeByTheKernel: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'devtmpfs', 'proc', 'sysfs']);

/** fstab(5): with any of these options a user may mount the file system. */
const forUsers: ReadonlySet<string> = new Set(['user', 'users', 'owner', 'group']);

export function parseMounts(mountinfo: string): ReadonlyMap<number, Mount> {
  const mounts = new Map<number, Mount>();
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [id, , , , point = '', options = ''] = before.split(' ');
    const [type = ''] = after.split(' ');
    if (type !== '') mounts.set(Number(id), { point: plain(point), options: options.split(','), type });
  }
  return mounts;
}

/**
 * Each way in which a user mounts a file system in root's sight sets nosuid (udisks, the option `user` of fstab(5),
 * systemd-homed), because the user may have created set-user-ID files on it. Mounts of the administrator with nosuid are in
 * fstab.
 * @returns the rest of a sentence about a path on this mount; undefined where owners and modes can be relied on.
 */
export function broughtByOthers({ point, options, type }: Mount, fstab: string): string | undefined {
  if (/^fuse(blk)?(\.|$)/.test(type))
    return 'is on a FUSE file system, whose owners and modes are what a program says';
  if (!options.includes('nosuid') || madeByTheKernel.has(type) || isAdministrators(point, fstab))
    return undefined;
  return 'is on a file system that a user may have brought (it is mounted nosuid, and not by /etc/fstab)';
}

function isAdministrators(point: string, fstab: string): boolean {
  return fstab.split('\n').some((line) => {
    const [source = '', where = '', , options = ''] = line.trim().split(/[ \t]+/);
    if (source.startsWith('#') || plain(where) !== point) return false;
    return !options.split(',').some((option) => forUsers.has(option));
  });
}

/** In mountinfo, spaces, tabs, newlines and backslashes are octal numbers. */
function plain(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** The mounts of this process. Their file systems are not accessed, because a silent file system would block. */
export class Mounts {
  #mounts: ReadonlyMap<number, Mount> = new Map();
  #fstab: string | undefined;

  /** The mount of an open file; undefined if it is invisible: unmounted since, or outside of our root. */
  of(fd: number): Mount | undefined {
    const id = Number(/^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]);
    // The mount may have been created on demand, by the access itself.
    if (!this.#mounts.has(id)) this.#mounts = parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
    return this.#mounts.get(id);
  }

  /** Calls the function of that name for an open file. */
  broughtByOthers(fd: number): string | undefined {
    const mount = this.of(fd);
    if (!mount) return 'is on a file system that is not in /proc/self/mountinfo';
    this.#fstab ??= readFstab();
    return broughtByOthers(mount, this.#fstab);
  }
}

function readFstab(): string {
  try {
    return readFileSync('/etc/fstab', 'utf8');
  } catch {
    return '';
  }
}
