/** The process, thread or group that has a pid. */
import { statOf } from '../proc/stat.ts';
import { statusField } from '../proc/status.ts';
import { list, read } from './gone.ts';
import { lookAt, type Person } from './people.ts';

export type Taken =
  | { readonly kind: 'process'; readonly process: Person }
  /** A process that has ended, and whose parent has not waited for it. */
  | { readonly kind: 'zombie'; readonly pid: number; readonly parent: Person | undefined }
  | { readonly kind: 'thread'; readonly pid: number; readonly process: Person }
  /** A thread or an engine of criu-service. */
  | { readonly kind: 'service'; readonly pid: number; readonly isThread: boolean }
  /** No process: the number of a process group or a session that a process is in. */
  | {
      readonly kind: 'group';
      readonly pid: number;
      readonly of: 'process group' | 'session';
      readonly member: Person;
    }
  | { readonly kind: 'nobody'; readonly pid: number };

export function holderOf(pid: number): Taken {
  return processOrThread(pid) ?? groupOf(pid);
}

/** @returns undefined if no process and no thread has the number. */
export function processOrThread(pid: number): Taken | undefined {
  const process = lookAt(pid);
  if (!process) return undefined;
  const status = read(`/proc/${pid}/status`);
  const leader = Number(statusField(status, 'Tgid') ?? pid);
  // Engines of users and restored processes are in other cgroups.
  if (process.uid === 0 && /\/criu\.service$/m.test(read(`/proc/${pid}/cgroup`)))
    return { kind: 'service', pid, isThread: !/^criu$/.test(process.name) };
  if (statusField(status, 'State')?.startsWith('Z')) {
    return { kind: 'zombie', pid, parent: lookAt(Number(statusField(status, 'PPid') ?? 0)) };
  }
  const owner = leader === pid ? undefined : lookAt(leader);
  return owner ? { kind: 'thread', pid, process: owner } : { kind: 'process', process };
}

/** The kernel gives no process a pid that is still the number of a process group or a session. */
function groupOf(pid: number): Taken {
  for (const name of list('/proc').filter((each) => /^\d+$/.test(each))) {
    const stat = statOf(name);
    if (stat?.group !== pid && stat?.session !== pid) continue;
    const member = lookAt(Number(name));
    if (member) return { kind: 'group', pid, of: stat.session === pid ? 'session' : 'process group', member };
  }
  return { kind: 'nobody', pid };
}
