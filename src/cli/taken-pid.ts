/** The holder of the pid that a restore needs. */
import { takenPidIn } from '../policy/taken-pid.ts';
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

/**
 * @param lines CRIU's error lines and its message.
 * @param images the directory of the restore, in which each thread has an image.
 * @returns undefined if no pid is the cause of the failure.
 */
export function takenPid(lines: readonly string[], images: string): Taken | undefined {
  const pid = takenPidIn(...lines);
  if (pid !== undefined) return holderOf(pid);
  // In criu/pie/restorer.c; the number in the line is that of the process. The new thread has the result -EEXIST.
  if (!/Unable to create a thread: -17\b/.test(lines.join('\n'))) return undefined;
  return threadsIn(images)
    .map(holderOf)
    .find(({ kind }) => kind !== 'nobody');
}

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
    const stat = read(`/proc/${name}/stat`);
    // The name of the process, in parentheses, may contain anything.
    const [, , group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (Number(group) !== pid && Number(session) !== pid) continue;
    const member = lookAt(Number(name));
    if (member)
      return { kind: 'group', pid, of: Number(session) === pid ? 'session' : 'process group', member };
  }
  return { kind: 'nobody', pid };
}

function threadsIn(images: string): number[] {
  return list(images).flatMap((name) => {
    const [, id] = /^core-(\d+)\.img$/.exec(name) ?? [];
    return id === undefined ? [] : [Number(id)];
  });
}

/** A sentence. Pure. */
export function aboutTaken(taken: Taken): string {
  const named = ({ pid, name, user }: Person): string => `process ${pid} (${name} of ${user})`;
  switch (taken.kind) {
    case 'process': {
      const { pid, name, user } = taken.process;
      return `Process ${pid} exists: it is ${name} of ${user}. Restore when it has ended`;
    }
    case 'zombie': {
      const parent = taken.parent ? `its parent, ${named(taken.parent)},` : 'its parent';
      return `Process ${taken.pid} has ended, but ${parent} has not waited for it: the pid is free when the parent has waited or ended`;
    }
    case 'thread':
      return `${taken.pid} is a thread of ${named(taken.process)}: restore when that process has ended`;
    case 'service':
      return taken.isThread
        ? `${taken.pid} is a thread of criu-service itself. As root: systemctl restart criu.service; then restore again`
        : `${taken.pid} is an engine of criu-service: restore again when it has ended`;
    case 'group':
      return `No process has the pid ${taken.pid}, but it is still the ${taken.of} of ${named(taken.member)}: restore when that process has ended`;
    case 'nobody':
      return `No process that you can see has the pid ${taken.pid} now: restore again`;
  }
}
