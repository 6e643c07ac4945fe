/**
 * Writes the manifest of a finished dump. All images are on the disk before the manifest has its name, so that a directory with a
 * manifest is a finished dump, also after a power failure.
 */
import { closeSync, constants, fsync, openSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { userName } from '../../proc/users.ts';
import { missingIn } from '../compressed.ts';
import { contentsOf } from '../contents.ts';
import { ImageDirectory } from '../image-directory.ts';
import type { OpenFile } from '../open-regular.ts';
import { isRoundName } from '../round-names.ts';
import { digestElsewhere, digestOf } from './digest.ts';
import { dumpUptimeOf } from './dump-uptime.ts';
import {
  isNameOfFile,
  type Manifest,
  ManifestError,
  type ManifestFile,
  type ManifestTask,
  manifestText,
  manifestVersion,
  mostManifestBytes,
  mostManifestFiles,
  mostManifestTasks,
} from './format.ts';
import { clocksNow, machineFacts } from './machine-facts.ts';
import { isManifestFile, manifestName, unfinishedManifestName } from './names.ts';

/** Facts that the images do not tell. */
export interface DumpFacts {
  readonly criu?: string | undefined;
  readonly leftRunning: boolean;
  /** Options of the dump that the restore needs, too, for example `--tcp-established`. */
  readonly restoreWith: readonly string[];
  /** The manifest of the dump, if these images were made of others: time, machine and user are its own. */
  readonly made?: Pick<Manifest, 'written' | 'machine' | 'user' | 'clocks'> | undefined;
}

export interface ManifestOptions {
  /** Digests images of pages, too, which takes a second for each gigabyte or two. */
  readonly digestPages?: boolean | undefined;
}

/** `criuctl cpuinfo dump` may write this image anew. */
const apart: ReadonlySet<string> = new Set(['cpuinfo.img']);

const pages = /(^|\/)pages-[^/]*$/;

/** Files below this size are read at once; others while this process does other things. */
const smallBytes = 1 << 20;

const mostFlushes = 8;

/**
 * Writes manifest.json beside the images of a dump that CRIU has finished.
 * @param directory of the images: a path, which may lead through /proc/PID/fd.
 * @throws Error of node:fs, ImageError, or ManifestError; then there is no manifest, and the images are as they were.
 */
export async function writeManifest(
  directory: string,
  facts: DumpFacts,
  { digestPages = false }: ManifestOptions = {},
): Promise<Manifest> {
  const images = new ImageDirectory(directory);
  try {
    const files = await new Files(digestPages).below(images);
    const manifest = describe(images, facts, files);
    await store(images, manifestText(manifest));
    return manifest;
  } finally {
    images.close();
  }
}

function madeNow(): Pick<Manifest, 'written' | 'machine' | 'user' | 'clocks'> {
  const uid = process.geteuid!();
  return {
    written: new Date().toISOString(),
    machine: machineFacts(),
    user: { uid, gid: process.getegid!(), name: userName(uid) },
    clocks: clocksNow(),
  };
}

function describe(images: ImageDirectory, facts: DumpFacts, files: readonly ManifestFile[]): Manifest {
  const { tasks, needs, criu } = contentsOf(images);
  const said = facts.criu ?? criu;
  const uptime = dumpUptimeOf(images);
  return {
    version: manifestVersion,
    ...(facts.made ?? madeNow()),
    ...(said === undefined ? {} : { criu: said }),
    ...(uptime === undefined ? {} : { dumpUptime: uptime }),
    tasks: tasks
      .slice(0, mostManifestTasks)
      .map(({ pid, ppid, threads, commandLine }): ManifestTask => ({ pid, ppid, threads, commandLine })),
    moreTasks: Math.max(0, tasks.length - mostManifestTasks),
    leftRunning: facts.leftRunning,
    restoreWith: [...new Set([...facts.restoreWith, ...needs])].sort(),
    files,
  };
}

/** Digests and flushes all images of a directory and of the rounds below it. */
class Files {
  readonly #digestPages: boolean;
  readonly #files: ManifestFile[] = [];
  readonly #flushes = new Set<Promise<void>>();
  readonly #piece = Buffer.allocUnsafeSlow(smallBytes);

  constructor(digestPages: boolean) {
    this.#digestPages = digestPages;
  }

  async below(images: ImageDirectory): Promise<readonly ManifestFile[]> {
    try {
      await this.#add(images, '');
      for (const round of namesIn(images, isRoundName)) {
        const below = images.below(round);
        if (!below) continue;
        try {
          await this.#add(below, `${round}/`);
          await this.#flushed();
          below.flush();
        } finally {
          below.close();
        }
      }
    } finally {
      // Their descriptors are open until then.
      await Promise.allSettled(this.#flushes);
    }
    await this.#flushed();
    return this.#files;
  }

  async #add(images: ImageDirectory, prefix: string): Promise<void> {
    const [compressed] = missingIn(images);
    if (compressed !== undefined)
      throw new ManifestError(
        `cannot list ${prefix}${compressed}, which is compressed: criuctl images expand`,
      );
    for (const name of namesIn(images, (each) => isNameOfFile(each) && !apart.has(each))) {
      const opened = images.open(name);
      if (!opened) continue;
      if (this.#files.length >= mostManifestFiles) {
        closeSync(opened.fd);
        throw new ManifestError(`would list more than ${mostManifestFiles} files`);
      }
      let flushing = false;
      try {
        this.#files.push(await this.#digested(opened, prefix + name));
        if (this.#flushes.size >= mostFlushes) await Promise.race(this.#flushes);
        this.#flush(opened.fd);
        flushing = true;
      } finally {
        if (!flushing) closeSync(opened.fd);
      }
    }
  }

  async #digested({ fd, stat }: OpenFile, name: string): Promise<ManifestFile> {
    const file = { name, bytes: stat.size };
    if (pages.test(name) && !this.#digestPages) return file;
    const sha256 = stat.size <= smallBytes ? digestOf(fd, name, this.#piece) : await digestElsewhere(fd);
    return { ...file, sha256 };
  }

  /** Several at a time: a file system writes them together. Owns the descriptor. */
  #flush(fd: number): void {
    const flushing = flush(fd).finally(() => closeSync(fd));
    this.#flushes.add(flushing);
    // A failure stays in the set for #flushed().
    flushing.then(
      () => this.#flushes.delete(flushing),
      () => undefined,
    );
  }

  /** @throws Error of node:fs, of the first file that could not be written. */
  async #flushed(): Promise<void> {
    await Promise.all(this.#flushes);
  }
}

const flushElsewhere = promisify(fsync);

async function flush(fd: number): Promise<void> {
  try {
    await flushElsewhere(fd);
  } catch (error) {
    // A file system without fsync(2) has nothing to flush.
    if (!['EINVAL', 'ENOSYS', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** Sorted, so that two manifests of the same images are the same. */
function namesIn(images: ImageDirectory, which: (name: string) => boolean): string[] {
  const names: string[] = [];
  for (const { name } of images.entries()) {
    if (which(name)) names.push(name);
    if (names.length > mostManifestFiles)
      throw new ManifestError(`would list more than ${mostManifestFiles} files`);
  }
  return names.sort();
}

/** The new manifest takes the place of an earlier one, and of no other file. */
async function store(images: ImageDirectory, text: string): Promise<void> {
  if (Buffer.byteLength(text) > mostManifestBytes)
    throw new ManifestError(`would have more than ${mostManifestBytes} bytes`);
  const complete = images.place(manifestName);
  if (images.stat(manifestName) && !isManifestFile(complete))
    throw new ManifestError('is there already, and is not of a dump');
  const unfinished = images.place(unfinishedManifestName);
  const fd = create(images, unfinished);
  try {
    writeFileSync(fd, text);
    await flush(fd);
    images.flush();
    renameSync(unfinished, complete);
    images.flush();
  } catch (error) {
    removeIfThere(unfinished);
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** Readable by its user alone, as the images are: it has command lines. Follows no link. */
function create(images: ImageDirectory, path: string): number {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  // A criuctl that was ended has left it.
  if (images.stat(unfinishedManifestName)) removeIfThere(path);
  return openSync(path, flags, 0o600);
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // The file that stays does no harm: no reader takes it for a manifest.
  }
}
