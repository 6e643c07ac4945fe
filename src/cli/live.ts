/**
 * criuctl dump --live: copies the memory of a tree in rounds while it runs, so that the dump that follows has little left to write
 * and freezes the tree for a short time only.
 *
 * Each round is a pre-dump into a directory below that of the dump, with the round before as its parent (`parent` is a relative link),
 * so that the directory of the dump can be moved, and removed, as one.
 */
import { mkdirSync, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { DumpOptions } from '../client/options.ts';
import type { DumpResult, PreDumpRound } from '../client/results.ts';
import { type DumpStatistics, readDumpStatistics } from '../client/statistics.ts';
import { roundName } from '../images/round-names.ts';
import { kernelTracksMemory } from '../proc/memory-tracking.ts';
import { causeOf, UsedDirectory } from './destination.ts';
import { directoriesOf, type Places } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { imageBytes } from './images.ts';
import { type Invocation, Obstacle } from './invocation.ts';
import { inBytes, inTime } from './words.ts';

/** A round this small leaves a dump that is as quick as it can be: its time goes into freezing and into the files. */
const smallBytes = 1 << 20;

export interface Round {
  /** Relative to the directory of the dump. */
  readonly name: string;
  /** Of memory, that this round has written. */
  readonly bytes: number;
  readonly statistics: DumpStatistics | undefined;
}

/** Another round pays as long as rounds become smaller, and are not small yet. @param most the limit of rounds. */
export function pays(sizes: readonly number[], most: number): boolean {
  const [last = Number.POSITIVE_INFINITY, before = Number.POSITIVE_INFINITY] = sizes.toReversed();
  return sizes.length < most && last > smallBytes && last < before;
}

/** @throws Obstacle if this machine, or another option, leaves no way of pre-dumps. Call this before anything is written. */
export function requireRounds({ options }: Invocation): void {
  const refuse = (reason: string): never => {
    throw new Obstacle(exitCodes.refused, `DUMP refused: --live: ${reason}`, 'Dump it without --live');
  };
  if (options.ps !== undefined)
    refuse('its rounds are directories of this machine, and --page-server is another');
  if (!kernelTracksMemory())
    refuse('this kernel does not track the memory of processes (CONFIG_MEM_SOFT_DIRTY)');
}

/**
 * Runs the rounds, and the dump that ends them.
 * @param request of the dump, in `places`.
 * @returns the dump's result, and the rounds before it.
 */
export async function dumpLive(
  invocation: Invocation,
  places: Places,
  request: DumpOptions & { readonly logFile: string },
  most: number,
): Promise<{ readonly result: DumpResult; readonly rounds: readonly Round[] }> {
  const rounds: Round[] = [];
  const { parentImg, ...rest } = request;
  const first = { ...rest, ...requestOf(invocation, places, 1, fromBelow(parentImg), request.logFile) };
  for await (const round of invocation.client().preDump(first)) {
    rounds.push(lookAt(places, round));
    const next = rounds.length + 1;
    const parent = `../${roundName(rounds.length)}`;
    if (
      pays(
        rounds.map(({ bytes }) => bytes),
        most,
      )
    ) {
      round.next(requestOf(invocation, places, next, parent, request.logFile));
    } else {
      const last = { ...request, trackMem: true, parentImg: roundName(rounds.length) };
      return { result: await round.dump(last), rounds };
    }
  }
  throw new Error('a series of pre-dumps ended without its dump');
}

/** The directory of a round, and its options. @param parentImg relative to the round's directory. */
function requestOf(
  invocation: Invocation,
  { images }: Places,
  number: number,
  parentImg: string | undefined,
  logFile: string,
): DumpOptions {
  const path = join(images, roundName(number));
  makeRound(invocation, path, images);
  const options = { ...invocation.options, parentImg };
  const places = { images: path, work: path };
  return {
    ...directoriesOf({ ...invocation, options }, places, 'writes', logFile),
    // The dump may have a work directory of its own.
    workDir: undefined,
    trackMem: true,
    parentImg,
    ...readsMemory(),
  } as DumpOptions;
}

/** @throws Obstacle; what was there stays. */
function makeRound({ verb }: Invocation, path: string, images: string): void {
  try {
    mkdirSync(path, { mode: statSync(images).mode & 0o7777 });
  } catch (error) {
    // A directory that cannot be listed, or that no lock claims, shows an earlier dump only here.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw new UsedDirectory(verb, images);
    throw new Obstacle(
      exitCodes.directory,
      `${path} cannot be made: ${causeOf(error)}`,
      'Name a new directory with -D',
    );
  }
}

/**
 * The kernel gives a user without root pipes for 64 MiB (fs.pipe-user-pages-soft), and after that pipes of a page or two: CRIU, which moves the
 * memory of a round into pipes, froze 256 MiB for 81 s, in 24,696 of them. Where it reads the memory instead, the pipes stay empty: 5 s.
 */
function readsMemory(): Pick<DumpOptions, 'preDumpMode'> {
  return process.geteuid?.() === 0 ? {} : { preDumpMode: 'vm-read' };
}

function fromBelow(parentImg: string | undefined): string | undefined {
  return parentImg === undefined || isAbsolute(parentImg) ? parentImg : join('..', parentImg);
}

function lookAt({ images }: Places, { number }: PreDumpRound): Round {
  const name = roundName(number);
  const path = join(images, name);
  return { name, bytes: imageBytes(path).pages, statistics: readDumpStatistics(path) };
}

/** A line for each round, for a person. */
export function roundsSummary(rounds: readonly Round[]): string[] {
  return rounds.map(({ name, bytes, statistics }) => {
    const frozen = statistics ? `, frozen for ${inTime(statistics.frozenUsec)}` : '';
    return `${name.replace('-', ' ').padEnd(15)}${inBytes(bytes)}${frozen}`;
  });
}
