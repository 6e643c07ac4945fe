/**
 * The directory that a dump writes its images into. Images of two dumps never mix: CRIU empties a file when it writes it, so a
 * dump that failed over an older one would destroy both. So the directory has no images; or, with --replace, CRIU writes into a
 * new directory beside it, which takes its place in one step when the dump is complete.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { CriuError } from '../client/criu-error.ts';
import { isFileOfDump } from '../images/dump-files.ts';
import {
  isImage,
  isManifestName,
  isOfDump,
  isUnfinishedPages,
  nameOfCompressed,
} from '../images/dump-names.ts';
import { isRoundName } from '../images/round-names.ts';
import type { Lock } from '../job/lock.ts';
import { native } from '../native/binding.ts';
import { startTimeOf } from '../proc/stat.ts';
import { claim } from './claim.ts';
import { atNewFile, exist, newFile, type Places, placesOf } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { type Invocation, Obstacle } from './invocation.ts';
import type { Verb } from './options/row.ts';
import { parentLink } from './trust.ts';

/** Written last of all images (cr_dump_tasks and cr_pre_dump_finish in criu/cr-dump.c). */
export const lastImage = 'inventory.img';

const statistics = 'stats-dump';

/** A longer chain of earlier dumps is a loop of links. */
const mostEarlierDumps = 1000;

/** A failed dump, and sentences about what became of its directory. */
export class FailedDump extends Error {
  override readonly name = 'FailedDump';
  readonly notes: readonly string[];

  constructor(cause: unknown, ...notes: string[]) {
    super('The dump failed', { cause });
    this.notes = notes;
  }
}

/** The refusal of a directory with images of another dump, which stay as they are. */
export class UsedDirectory extends Obstacle {
  constructor(verb: Verb, images: string) {
    super(
      exitCodes.refused,
      `${verb.toUpperCase().replace('-', '_')} refused: ${images} holds images of ${isUnfinished(images) ? 'a dump that did not finish' : 'an earlier dump'}, and two dumps in one directory destroy each other`,
      'Name a new directory; or say --replace, which replaces the earlier images when the new ones are complete',
    );
  }
}

export interface Destination {
  /** The directories for the request. */
  readonly places: Places;
  /**
   * Claims the directory, and refuses one with images, unless they are to be replaced. Call this when the directory was examined.
   * @throws Obstacle
   */
  requireUnused(): void;
  /** Puts the images where the user wants them, after a success. @throws Obstacle, which says where the images are. */
  complete(): void;
  /** Removes what a failed dump has left. @returns the error to throw. */
  failed(error: unknown): unknown;
}

/** @throws Obstacle, CriuError; before the service gets a request. */
export function destinationOf(invocation: Invocation, logFile: string): Destination {
  const places = placesOf(invocation.options);
  if (!exist(invocation, places, logFile)) makeNew(invocation, places.images);
  return invocation.own.replace && imagesIn(places.images).length > 0
    ? new Replacement(invocation, places, logFile)
    : new Unused(invocation, places);
}

/** True if the images in a directory are those of a dump that did not finish; false also for an empty directory. */
export function isUnfinished(directory: string): boolean {
  const images = imagesIn(directory);
  return images.length > 0 && !images.includes(lastImage);
}

/** What a failure means for the directory: `nothing` was written that anybody needs, or that is `unknown`. */
export function fateAfter(error: unknown, targetRuns: boolean): 'nothing' | 'unknown' {
  if (error instanceof Obstacle) return 'nothing';
  if (!(error instanceof CriuError)) return 'unknown';
  switch (error.code) {
    case 'INVALID':
    case 'DIRECTORY':
    case 'UNREACHABLE':
      return 'nothing';
    case 'FAILED':
    case 'NOTIFICATION':
      // CRIU has said so. The images of a process that has ended are kept whatever CRIU said.
      return targetRuns ? 'nothing' : 'unknown';
    case 'ABORTED':
    case 'CLOSED':
    case 'PROTOCOL':
      // CRIU may be at work still, and may end the process.
      return 'unknown';
  }
}

class Unused implements Destination {
  readonly places: Places;
  readonly #invocation: Invocation;
  readonly #target: RunningProcess;
  #claim: Lock | undefined;
  #wasUnused = false;

  constructor(invocation: Invocation, places: Places) {
    this.#invocation = invocation;
    this.places = places;
    this.#target = new RunningProcess(invocation.options.pid!);
  }

  requireUnused(): void {
    const { images } = this.places;
    this.#claim = claim(images, this.#invocation.verb);
    if (imagesIn(images).length > 0) throw new UsedDirectory(this.#invocation.verb, images);
    this.#wasUnused = true;
    // Of an earlier dump, whose images are gone. While this dump is at work, there is none.
    remove(images, isManifestName);
  }

  complete(): void {
    this.#claim?.release();
  }

  failed(error: unknown): unknown {
    try {
      return this.#wasUnused && !(error instanceof UsedDirectory) ? this.#fate(error) : error;
    } finally {
      this.#claim?.release();
    }
  }

  #fate(error: unknown): unknown {
    const { images } = this.places;
    if (fateAfter(error, this.#target.runs) === 'nothing') removeImages(images);
    else if (imagesIn(images).includes(lastImage)) {
      return new FailedDump(error, `The images in ${images} are complete: criuctl restore -D ${images}`);
    }
    return error;
  }
}

class Replacement implements Destination {
  readonly places: Places;
  /** Without links. */
  readonly #directory: string;
  readonly #aside: string;
  readonly #files: readonly string[];
  readonly #logFile: string;
  readonly #target: RunningProcess;
  readonly #verb: string;
  #claim: Lock | undefined;

  constructor(invocation: Invocation, { images, work }: Places, logFile: string) {
    const directory = realpathSync(images);
    requireExchangeable(directory, images, logFile, invocation.options.parentImg);
    this.#directory = directory;
    this.#verb = invocation.verb;
    this.#logFile = logFile;
    // The log and the statistics belong to the directory itself: after a failure the log is where a user looks for it.
    this.#files = work === images ? [logFile, statistics] : [];
    this.#target = new RunningProcess(invocation.options.pid!);
    this.#aside = makeAside(invocation, directory);
    this.places = { images: this.#aside, work };
  }

  requireUnused(): void {
    this.#claim = claim(this.#directory, this.#verb);
  }

  complete(): void {
    try {
      this.#replace();
    } finally {
      this.#claim?.release();
    }
  }

  #replace(): void {
    try {
      for (const name of this.#files) {
        const path = join(this.#directory, name);
        if (lstatSync(path, { throwIfNoEntry: false })) renameSync(path, join(this.#aside, name));
      }
      exchange(this.#aside, this.#directory);
    } catch (error) {
      throw new Obstacle(
        exitCodes.failed,
        `The images are complete in ${this.#aside}, and could not take the place of the earlier ones in ${this.#directory}: ${causeOf(error)}`,
        `Restore from ${this.#aside}, or exchange the directories`,
      );
    }
    removeAll(this.#aside, this.#logFile);
  }

  failed(error: unknown): unknown {
    try {
      return this.#fate(error);
    } finally {
      this.#claim?.release();
    }
  }

  #fate(error: unknown): unknown {
    if (fateAfter(error, this.#target.runs) === 'nothing') {
      removeAll(this.#aside, this.#logFile);
      const begun = error instanceof CriuError && error.code === 'FAILED';
      return begun
        ? new FailedDump(error, `The earlier images in ${this.#directory} are as they were`)
        : error;
    }
    return new FailedDump(
      error,
      imagesIn(this.#aside).includes(lastImage)
        ? `The new images in ${this.#aside} are complete; the earlier ones in ${this.#directory} are as they were`
        : `The earlier images in ${this.#directory} are as they were; what the dump wrote is in ${this.#aside}`,
    );
  }
}

/** A directory for images is private: they hold the memory of a process. */
function makeNew(invocation: Invocation, path: string): void {
  try {
    atNewFile(invocation, path, (made) => mkdirSync(made, { mode: 0o700 }));
  } catch (error) {
    if (error instanceof Obstacle || error instanceof CriuError) throw error;
    // The client tells why the directory cannot be opened.
  }
}

/**
 * Makes a directory beside another, with the same owner and mode.
 * @returns its path.
 * @throws Obstacle, CriuError
 */
function makeAside(invocation: Invocation, directory: string): string {
  const { uid, gid, mode } = statSync(directory);
  const path = join(dirname(directory), `.${basename(directory)}.new-${randomBytes(4).toString('hex')}`);
  const file = newFile(invocation, path);
  const made = file.path;
  try {
    mkdirSync(made, { mode: 0o700 });
    if (process.geteuid?.() === 0) chownSync(made, uid, gid);
    chmodSync(made, mode & 0o7777);
    return path;
  } catch (error) {
    throw new Obstacle(
      exitCodes.directory,
      `${directory} cannot be replaced: no directory can be made beside it: ${causeOf(error)}`,
      'Name a new directory with -D',
    );
  } finally {
    file.close();
  }
}

/** Leaves out the call and its path, which for root leads through /proc. */
export function causeOf(error: unknown): string {
  return (error as Error).message.split(', ')[0]!;
}

function requireExchangeable(
  directory: string,
  named: string,
  logFile: string,
  parentImg: string | undefined,
): void {
  const refuse = (reason: string, advice: string): never => {
    throw new Obstacle(exitCodes.refused, `${named} cannot be replaced: ${reason}`, advice);
  };
  if (directory === process.cwd()) refuse('it is the current directory', 'Go elsewhere, and name it with -D');
  const above = statSync(dirname(directory));
  if (above.dev !== statSync(directory).dev) refuse('a file system is mounted there', 'Name a new directory');
  const names = readdirSync(directory);
  const inRounds = names
    .filter(isRoundName)
    .flatMap((round) => namesIn(join(directory, round)).map((name) => join(round, name)));
  const foreign = [...names, ...inRounds].find(
    (name) => basename(name) !== logFile && !isRoundName(name) && !isFileOfDump(join(directory, name)),
  );
  if (foreign !== undefined)
    refuse(`${foreign} in it is no file of a dump`, 'Move it away, or name a new directory');
  const needed = parentImg === undefined ? [] : earlierDumps(resolve(directory, parentImg));
  if (needed.some((each) => each === directory || each.startsWith(`${directory}/`)))
    refuse('the new images need the ones in it (--prev-images-dir)', 'Name a new directory');
}

/** The name of a round may be that of a file, which is no round. */
function namesIn(round: string): string[] {
  return lstatSync(round).isDirectory() ? readdirSync(round) : ['(no directory)'];
}

/** The directories of a chain of dumps, the nearest first. */
function earlierDumps(nearest: string): string[] {
  const chain: string[] = [];
  for (let next = nearest; chain.length < mostEarlierDumps; ) {
    try {
      const directory = realpathSync(next);
      chain.push(directory);
      next = resolve(directory, readlinkSync(join(directory, parentLink)));
    } catch {
      break;
    }
  }
  return chain;
}

function exchange(aside: string, directory: string): void {
  try {
    native.exchange(aside, directory);
  } catch (error) {
    if (!['EINVAL', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    // The file system has no exchange (NFS, some overlays). In between, the directory is absent, and both dumps are whole.
    const old = `${aside}.old`;
    renameSync(directory, old);
    renameSync(aside, directory);
    renameSync(old, aside);
  }
}

/** The names of images of a tree. An unreadable directory counts as empty: CRIU will say more. */
function imagesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter(isOfTree);
  } catch {
    return [];
  }
}

/** An image of a tree, the link to earlier ones, or a round of a live dump. `criuctl cpuinfo dump` writes the features of the CPU beside a tree's images. */
function isOfTree(name: string): boolean {
  const isCompressed = nameOfCompressed(name) !== undefined || isUnfinishedPages(name);
  return (
    (isImage(name) && name !== 'cpuinfo.img') || isCompressed || name === parentLink || isRoundName(name)
  );
}

function removeImages(directory: string): void {
  remove(directory, isOfTree);
}

/** A round of a live dump, which has its own log and statistics. */
function removeRound(directory: string): void {
  remove(directory, isOfDump);
  rmdirSync(directory);
}

function removeAll(directory: string, logFile: string): void {
  remove(directory, (name) => isOfDump(name) || name === logFile);
  try {
    rmdirSync(directory);
  } catch {
    // A file that came meanwhile stays with its directory.
  }
}

/** Removes by the open directory, so that an exchanged path leads nowhere else. */
function remove(directory: string, which: (name: string) => boolean): void {
  let fd: number;
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return;
  }
  try {
    for (const name of readdirSync(`/proc/self/fd/${fd}`).filter(which)) {
      const path = `/proc/self/fd/${fd}/${name}`;
      if (isRoundName(name)) removeRound(path);
      else if (!isOfDump(name) || isFileOfDump(path)) unlinkSync(path);
    }
  } catch {
    // What cannot be removed is refused by the next dump, with a sentence.
  } finally {
    closeSync(fd);
  }
}

/** A process, told apart from a later one with the same pid by its start. */
class RunningProcess {
  readonly #pid: number;
  readonly #start: string | undefined;

  constructor(pid: number) {
    this.#pid = pid;
    this.#start = startTimeOf(pid);
  }

  get runs(): boolean {
    return this.#start !== undefined && startTimeOf(this.#pid) === this.#start;
  }
}
