/** The holder of the pid that a restore needed and did not get. */
import { takenPidIn } from '../policy/taken-pid.ts';
import { list } from './gone.ts';
import type { Person } from './people.ts';
import { holderOf, type Taken } from './pid-holder.ts';

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
