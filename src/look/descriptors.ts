/** Reads the descriptors of a process from /proc, with the facts that its links and fdinfo tell. */
import { readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { within } from '../proc/deadline.ts';

export interface Descriptor {
  readonly pid: number;
  readonly fd: number;
  /** The target of its link: a path, or for example `pipe:[123]`. */
  readonly link: string;
  /** Lines of its fdinfo, by name; those that occur several times are joined by newlines. */
  readonly info: ReadonlyMap<string, string>;
  /** Of a path. Undefined if it cannot be read, or does not answer in time. */
  readonly stat?: Stats | undefined;
}

/** The longest wait for the file systems behind the descriptors: a file system may never answer. */
const patienceMs = 5000;

/** @throws an error of node:fs if the descriptors cannot be listed. */
export async function readDescriptors(pid: number): Promise<Descriptor[]> {
  const directory = `/proc/${pid}/fd`;
  const names = readdirSync(directory);
  const read = names.flatMap((name): Descriptor[] => {
    try {
      const link = readlinkSync(`${directory}/${name}`);
      const info = parseInfo(readFileSync(`/proc/${pid}/fdinfo/${name}`, 'latin1'));
      return [{ pid, fd: Number(name), link, info }];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
  const stats = await inTime(
    read.map(({ fd, link }) =>
      link.startsWith('/') ? stat(`${directory}/${fd}`) : Promise.resolve(undefined),
    ),
  );
  return read.map((descriptor, at) => ({ ...descriptor, stat: stats[at] }));
}

/** Undefined for a promise that is rejected, or is not settled in time. */
export async function inTime<T>(promises: readonly Promise<T>[]): Promise<(T | undefined)[]> {
  const results: (T | undefined)[] = promises.map(() => undefined);
  const kept = promises.map((promise, at) =>
    promise.then(
      (value) => {
        results[at] = value;
      },
      () => {},
    ),
  );
  await within<unknown>(patienceMs, Promise.all(kept), () => undefined);
  return results;
}

/** proc_pid_fdinfo(5): lines of a name, a colon and a value. An inotify descriptor has a line `inotify wd:...` for each watch. */
export function parseInfo(text: string): ReadonlyMap<string, string> {
  const info = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === -1) continue;
    const name = line.slice(0, colon).split(' ')[0]!;
    const value = line.slice(colon + 1).trim();
    const known = info.get(name);
    info.set(name, known === undefined ? value : `${known}\n${value}`);
  }
  return info;
}

/** O_ACCMODE, O_APPEND and O_PATH of open(2) in the line `flags`. */
export function accessOf({ info }: Pick<Descriptor, 'info'>): {
  reads: boolean;
  writes: boolean;
  appends: boolean;
  isPathOnly: boolean;
} {
  const flags = Number.parseInt(info.get('flags') ?? '0', 8);
  const mode = flags & 3;
  return {
    reads: mode !== 1,
    writes: mode !== 0,
    appends: (flags & 0o2000) !== 0,
    isPathOnly: (flags & 0o10000000) !== 0,
  };
}
