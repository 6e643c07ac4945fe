/** Readers of /proc. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A line of /proc/PID/status; undefined if the process is gone. */
export function statusLine(pid: number, name: string): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    return new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(text)?.[1];
  } catch {
    return undefined;
  }
}

/** Alive: exists, and is no zombie. */
export function isAlive(pid: number): boolean {
  const state = statusLine(pid, 'State');
  return state !== undefined && !state.startsWith('Z') && !state.startsWith('X');
}

/** No process has the pid, not even one that its parent has yet to wait for: a restore may have it. */
export function isFree(pid: number): boolean {
  return statusLine(pid, 'Pid') === undefined;
}

/** The path of its cgroup below the root of the hierarchy. */
export function cgroupOf(pid: number): string {
  return /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'latin1'))![1]!;
}

/** Kills the process. Idempotent. */
export function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export function parentOf(pid: number): number {
  return Number(statusLine(pid, 'PPid') ?? 0);
}

function commOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd();
  } catch {
    return undefined;
  }
}

export function processesNamed(name: string): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => commOf(pid) === name);
}

/** Processes by their command lines. */
export function processesOf(matches: (words: readonly string[]) => boolean): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return matches(readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').slice(0, -1));
      } catch {
        return false;
      }
    });
}

/**
 * Page servers of every service. CRIU reports the pid of a page server only for PAGE_SERVER_CHLD; for PAGE_SERVER it reports 0.
 */
export function pageServers(): number[] {
  return processesNamed('criu').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('page-server');
    } catch {
      return false;
    }
  });
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text
    .split(' ')
    .filter((each) => each !== '')
    .map(Number);
}

/** An engine that was started ahead and has no request yet: it holds only its stdio and its connection. */
export function waitsAhead(pid: number): boolean {
  try {
    return commOf(pid) === 'criu' && openFds(pid).join() === '0,1,2,3';
  } catch {
    return false;
  }
}

/**
 * Without the one by which the kernel tells a service that a cgroup has become empty: once opened, it stays, whatever the number of
 * cgroups.
 */
export function openFds(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => !isInotify(`/proc/${pid}/fd/${fd}`));
}

function isInotify(path: string): boolean {
  try {
    return readlinkSync(path) === 'anon_inode:inotify';
  } catch {
    return false;
  }
}

export function residentKiB(pid: number): number {
  return Number(statusLine(pid, 'VmRSS')?.split(' ')[0]);
}
