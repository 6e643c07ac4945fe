/** Which file systems are root's word: on one that somebody else has brought, owners and modes say whatever that person wrote. */
import { readFileSync } from 'node:fs';

/** One line of /proc/self/mountinfo, proc_pid_mountinfo(5). */
export interface Mount {
  readonly point: string;
  readonly options: readonly string[];
  readonly type: string;
}

/** The kernel fills them itself, or they begin empty. They are often mounted nosuid. */
const madeByTheKernel: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'devtmpfs', 'proc', 'sysfs']);

/** fstab(5): with one of these a user may mount what is there. */
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
 * Every way in which a user mounts something where root looks sets nosuid (udisks, the `user` of fstab(5), systemd-homed), because the
 * user has written its set-user-ID bits. What the administrator has mounted so is in fstab.
 * @returns what continues a sentence about a path on this mount; undefined where its owners and modes are root's word.
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

/** Spaces, tabs, newlines and backslashes are octal numbers there. */
function plain(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** Those of this process. The file systems are asked nothing: one that is silent holds nobody up. */
export class Mounts {
  #mounts: ReadonlyMap<number, Mount> = new Map();
  #fstab: string | undefined;

  /** The one that an open file is on; undefined where it is not to be seen: taken away since, or outside of our root. */
  of(fd: number): Mount | undefined {
    const id = Number(/^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]);
    // It may have been mounted when somebody went there.
    if (!this.#mounts.has(id)) this.#mounts = parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
    return this.#mounts.get(id);
  }

  /** As the function of that name, of what is open. */
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
