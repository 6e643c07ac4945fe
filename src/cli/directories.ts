/**
 * The directories of a request, in the form that the client takes: paths, which the client opens itself, or, for root,
 * descriptors of directories that were checked. criuctl keeps them open until it exits.
 */
import { closeSync, existsSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { CriuError } from '../client/criu-error.ts';
import type { Directory } from '../client/directory.ts';
import type { AnyOptions } from '../client/options.ts';
import { isImage } from '../images/dump-names.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle } from './invocation.ts';
import { Mounts } from './mounts.ts';
import { type Finding, openTrusted, parentLink, type Use } from './trust.ts';
import { decidedByOthers, follow } from './way.ts';

/** The directories as the command line names them; criuctl takes only paths. */
export interface Places {
  readonly images: string;
  readonly work: string;
}

export interface Directories {
  readonly imagesDir: Directory;
  readonly workDir?: Directory;
}

/** The use that a request makes of images. */
export type ImageUse = 'writes' | 'reads' | 'neither';

/** The statistics that CRIU writes into the work directory, beside the log (criu/stats.c). */
const statisticsOf: Readonly<Record<ImageUse, readonly string[]>> = {
  writes: ['stats-dump'],
  reads: ['stats-restore'],
  neither: [],
};

export function placesOf({ imagesDir, workDir }: AnyOptions): Places {
  const images = (imagesDir as string | undefined) ?? '.';
  return { images, work: (workDir as string | undefined) ?? images };
}

/**
 * @param logFile its name in the work directory.
 * @throws Obstacle, CriuError `DIRECTORY`; before the service gets a request.
 */
export function directoriesOf(
  invocation: Invocation,
  places: Places,
  does: ImageUse,
  logFile: string,
): Directories {
  const { options } = invocation;
  const apart = places.work !== places.images;
  if (!looksClosely(invocation))
    return { imagesDir: places.images, ...(apart ? { workDir: places.work } : {}) };
  const request = requestOf(invocation);
  const beside = (name: string): boolean => name === logFile || statisticsOf[does].includes(name);
  const open = (path: string, use: Use): number => opened(request, path, use);
  return {
    imagesDir: open(places.images, {
      reads: does === 'reads',
      writes: (name) => (does === 'writes' && isImage(name)) || (!apart && beside(name)),
      before:
        does === 'neither'
          ? []
          : [parentLink, ...(options.parentImg === undefined ? [] : [options.parentImg])],
    }),
    ...(apart ? { workDir: open(places.work, { reads: false, writes: beside, before: [] }) } : {}),
  };
}

/**
 * True if the directories of a request exist. For root, they and the ways there are root's own: nothing else may touch a directory
 * before, because a file system of another user may never answer.
 * @throws as {@link directoriesOf}
 */
export function exist(invocation: Invocation, places: Places, logFile: string): boolean {
  try {
    directoriesOf(invocation, places, 'neither', logFile);
  } catch (error) {
    if (error instanceof CriuError && error.errnoName === 'ENOENT') return false;
    throw error;
  }
  return existsSync(places.images);
}

/** The place of a new file, which will be created with O_EXCL, so a directory like /tmp is allowed. */
export interface NewFile {
  /** For root, through the open directory that was checked. */
  readonly path: string;
  /** The path leads nowhere afterwards. A second call does nothing. */
  close(): void;
}

/** @throws as {@link directoriesOf} */
export function newFile(invocation: Invocation, path: string): NewFile {
  if (!looksClosely(invocation)) return { path, close: () => {} };
  const directory = dirname(path);
  const way = attempt(directory, () => follow(directory, process.cwd(), new Mounts()));
  const reason = 'reason' in way ? way.reason : decidedByOthers(way);
  if (!('fd' in way) || reason !== undefined) {
    if ('fd' in way) closeSync(way.fd);
    throw refusal(requestOf(invocation), { reason: reason!, decides: 'overwritten' });
  }
  const open = [way.fd];
  return {
    path: `/proc/self/fd/${way.fd}/${basename(path)}`,
    close: () => {
      for (const fd of open.splice(0)) closeSync(fd);
    },
  };
}

/** @param use gets the path of a new file, for as long as it runs. @throws as {@link directoriesOf} */
export function atNewFile<T>(invocation: Invocation, path: string, use: (path: string) => T): T {
  const file = newFile(invocation, path);
  try {
    return use(file.path);
  } finally {
    file.close();
  }
}

/** CRIU as root can be misled by files that others have prepared. For other users, CRIU has only the user's own rights. */
function looksClosely({ own }: Invocation): boolean {
  return process.geteuid?.() === 0 && !own.trustImages;
}

function requestOf({ verb, action }: Invocation): string {
  const words = verb === 'cpuinfo' ? `${verb}-${action}` : verb;
  return words.toUpperCase().replaceAll('-', '_');
}

function opened(request: string, path: string, use: Use): number {
  const trust = attempt(path, () => openTrusted(path, use));
  if ('fd' in trust) return trust.fd;
  throw refusal(request, trust);
}

function attempt<T>(directory: string, look: () => T): T {
  try {
    return look();
  } catch (error) {
    const { errno, message } = error as NodeJS.ErrnoException;
    // Leaves out the call and its path, which leads through /proc.
    const [what] = message.split(', ');
    throw new CriuError('DIRECTORY', `Cannot open the directory ${directory}: ${what}`, {
      errno: Math.abs(errno ?? 0),
      cause: error,
    });
  }
}

const why: Readonly<Record<Finding['decides'], readonly [consequence: string, advice: string]>> = {
  restored: ['whoever writes images decides what root restores', 'Restore as that user'],
  overwritten: [
    'whoever writes there decides which files root’s CRIU writes over',
    'Name a directory that only root can write',
  ],
  written: ['root’s CRIU would write into it', 'Name a new directory'],
};

function refusal(request: string, { reason, decides }: Finding): Obstacle {
  const [consequence, advice] = why[decides];
  return new Obstacle(
    exitCodes.refused,
    `${request} refused: ${reason}, and ${consequence}`,
    `${advice}, or say --trust-images`,
  );
}
