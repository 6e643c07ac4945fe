/** Counts bytes of images, and of the memory of processes. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { list, read } from './gone.ts';

/** Counts the bytes of memory pages in a directory of images, and of all files in it. */
export function imageBytes(directory: string): { pages: number; all: number } {
  const size = { pages: 0, all: 0 };
  for (const name of list(directory)) {
    const bytes = statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0;
    size.all += bytes;
    if (name.startsWith('pages-')) size.pages += bytes;
  }
  return size;
}

/** The pids in a directory of images: there is a core file for each process (and for each further thread). */
export function pidsOfImages(directory: string): number[] {
  return list(directory).flatMap((name) => Number(/^core-(\d+)\.img$/.exec(name)?.[1]) || []);
}

/** The memory that a dump of this tree must write: memory that is in no file. */
export function memoryOfTree(root: number): number {
  let bytes = 0;
  const open = [root];
  const seen = new Set<number>();
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    if (seen.has(pid)) continue;
    seen.add(pid);
    bytes += memoryOf([pid]);
    for (const tid of list(`/proc/${pid}/task`)) {
      open.push(
        ...read(`/proc/${pid}/task/${tid}/children`)
          .split(' ')
          .filter((word) => word !== '')
          .map(Number),
      );
    }
  }
  return bytes;
}

/** RssAnon and RssShmem of /proc/PID/status, proc_pid_status(5). */
export function memoryOf(pids: readonly number[]): number {
  let kib = 0;
  for (const pid of pids) {
    for (const [, number] of read(`/proc/${pid}/status`).matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB$/gm))
      kib += Number(number);
  }
  return kib * 1024;
}
