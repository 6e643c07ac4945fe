/**
 * A cgroup of our own for one engine, which its caller cannot write: a directory below this service's cgroup, which systemd
 * has delegated to us (Delegate=yes), or wherever we were started without systemd. See cgroups(7) and
 * Documentation/admin-guide/cgroup-v2 of the kernel: cgroup.procs, cgroup.kill (Linux 5.14).
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** How often a directory is tried to be removed: the kernel lets it go a moment after its last process. */
const removeRetryMs = 20;
const removeRetries = 50;

export class EngineCgroup {
  /** The directory in the cgroup file system. */
  readonly directory: string;
  /** As /proc/PID/cgroup names it. */
  readonly path: string;

  private constructor(directory: string, path: string) {
    this.directory = directory;
    this.path = path;
  }

  /** @param id unique among the engines of this service. */
  static create(id: string): EngineCgroup {
    const home = ownCgroup();
    const name = `engine-${id}`;
    const cgroup = new EngineCgroup(join(home.directory, name), join(home.path, name));
    mkdirSync(cgroup.directory);
    return cgroup;
  }

  /** Moves a process in, with what it forks from then on. */
  add(pid: number): void {
    writeFileSync(join(this.directory, 'cgroup.procs'), String(pid));
  }

  /** The pids of all processes in it. */
  members(): number[] {
    return readFileSync(join(this.directory, 'cgroup.procs'), 'latin1')
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  }

  /** SIGKILL for every process in it, those that are being forked included. */
  kill(): void {
    writeFileSync(join(this.directory, 'cgroup.kill'), '1');
  }

  /** Removes it once it is empty; what still lives in it after a second keeps it. */
  remove(retries = removeRetries): void {
    try {
      rmdirSync(this.directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || retries === 0) return;
      setTimeout(() => this.remove(retries - 1), removeRetryMs);
    }
  }
}

/** True for a cgroup that create() made, or one below it. */
export function isEngineCgroup(path: string): boolean {
  return path.startsWith(join(ownCgroup().path, 'engine-'));
}

let home: { readonly directory: string; readonly path: string } | undefined;

/** This service's own cgroup; it is not moved while it runs. */
function ownCgroup(): { readonly directory: string; readonly path: string } {
  if (home === undefined) {
    const path = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1] ?? '/';
    home = { path, directory: join(unifiedMount(), path) };
  }
  return home;
}

/** Where the unified hierarchy is mounted: /sys/fs/cgroup on all but hybrid systems. */
function unifiedMount(): string {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before, after] = line.split(' - ');
    if (after?.startsWith('cgroup2 ')) return before!.split(' ')[4]!;
  }
  throw new Error('No cgroup v2 hierarchy is mounted');
}
