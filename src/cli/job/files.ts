/**
 * files.json of a checkpoint: the regular files that the job had open for writing, and their sizes in the moment of the checkpoint.
 * Images have no size of a file that is opened with O_APPEND, such as the job's own logs.
 */
import {
  closeSync,
  constants,
  fsync,
  openSync,
  readFileSync,
  readlinkSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { WrittenFile } from '../files/written-files.ts';
import { list, read } from '../gone.ts';
import { membersOf } from './members.ts';

const name = 'files.json';
const accessMode = 0o3;
const append = 0o2000;

/** While the tree is frozen. @param open gets each of the files. */
export function noteFiles(root: number, directory: string, open: OpenFiles): void {
  const found = new Map<string, WrittenFile>();
  for (const pid of membersOf(root)) {
    for (const fd of list(`/proc/${pid}/fd`)) {
      const file = writtenFile(pid, fd);
      if (!file) continue;
      const before = found.get(file.path);
      if (!before) open.add(`/proc/${pid}/fd/${fd}`);
      found.set(file.path, { ...file, appends: file.appends && (before?.appends ?? true) });
    }
  }
  const files = [...found.values()].sort((one, other) => (one.path < other.path ? -1 : 1));
  writeFileSync(join(directory, name), `${JSON.stringify({ format: 1, files }, undefined, 2)}\n`, {
    mode: 0o600,
  });
}

function writtenFile(pid: number, fd: string): WrittenFile | undefined {
  const info = read(`/proc/${pid}/fdinfo/${fd}`);
  const flags = Number.parseInt(/^flags:\t(\d+)$/m.exec(info)?.[1] ?? '0', 8);
  const place = Number(/^pos:\t(\d+)$/m.exec(info)?.[1] ?? 0);
  if ((flags & accessMode) === 0) return undefined;
  let path: string;
  let stat: Stats;
  try {
    const way = `/proc/${pid}/fd/${fd}`;
    path = readlinkSync(way);
    stat = statSync(way);
  } catch {
    return undefined;
  }
  if (!stat.isFile() || !path.startsWith('/') || stat.nlink === 0) return undefined;
  return { path, size: stat.size, appends: (flags & append) !== 0 || place >= stat.size };
}

/** Descriptors that criuctl can spare, whatever its limit is: files.json is written beside them. The files beyond are not synced. */
const mostOpen = 256;

/** The files of a job in the moment of a checkpoint, whatever their names lead to afterwards. */
export class OpenFiles {
  readonly #fds: number[] = [];

  /** @param way below /proc/PID/fd: no name of others' is followed. */
  add(way: string): void {
    if (this.#fds.length >= mostOpen) return;
    try {
      this.#fds.push(openSync(way, constants.O_RDONLY | constants.O_NONBLOCK));
    } catch {
      // Its user may only write it.
    }
  }

  /** What the job had written by then survives a power cut, as its images do. @returns why it may not. */
  async sync(): Promise<string | undefined> {
    let reason: string | undefined;
    for (const fd of this.#fds) {
      try {
        await promisify(fsync)(fd);
      } catch (error) {
        // Some file systems do not offer it.
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== 'EINVAL') reason ??= message.split(', ')[0]!;
      }
    }
    return reason;
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) closeSync(fd);
  }
}

/** A dump that criuctl did not see to its end may lack it: output of its job could not be cut back. */
export function areFilesNoted(directory: string): boolean {
  return notedFiles(directory) !== undefined;
}

/** @returns nothing for a checkpoint without such a file. */
export function readFiles(directory: string): readonly WrittenFile[] {
  return notedFiles(directory) ?? [];
}

function notedFiles(directory: string): readonly WrittenFile[] | undefined {
  try {
    const { format, files } = JSON.parse(readFileSync(join(directory, name), 'utf8')) as {
      readonly format: number;
      readonly files: readonly WrittenFile[];
    };
    const isFile = (file: WrittenFile): boolean =>
      typeof file.path === 'string' && Number.isSafeInteger(file.size) && typeof file.appends === 'boolean';
    return format === 1 && files.every(isFile) ? files : undefined;
  } catch {
    return undefined;
  }
}
