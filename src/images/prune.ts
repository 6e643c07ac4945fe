/** Removes old checkpoints of a series in numbered directories: `1`, `2`, and so on. */
import { closeSync, constants, fstatSync, openSync, rmdirSync, unlinkSync } from 'node:fs';
import { eachParent } from './chain.ts';
import { isFileOfDump } from './dump-files.ts';
import type { Fault } from './fault.ts';
import { ImageDirectory, parentName } from './image-directory.ts';
import { manifestName } from './manifest/names.ts';
import { type Checkpoint, type Fate, fatesOf } from './pruning.ts';
import { Reading } from './reading.ts';
import { isRoundName } from './round-names.ts';
import { type Space, sizesIn } from './sizes.ts';
import { readTree } from './task-images.ts';
import { verify } from './verify.ts';

export interface PrunedCheckpoint {
  readonly number: number;
  readonly is: Checkpoint['is'];
  /** The files of its rounds among them. */
  readonly space: Space;
  readonly fate: Fate;
  /** Only if `is` is foreign: a file that is not of a dump. */
  readonly foreign?: string;
  /** It was to be removed, and a part of it is still there. */
  readonly failure?: string;
}

export interface Pruning {
  readonly directory: string;
  readonly checkpoints: readonly PrunedCheckpoint[];
  /** Parents of kept checkpoints that cannot be followed: if there are any, nothing was removed. */
  readonly faults: readonly Fault[];
}

/** More checkpoints than a series has. */
const mostCheckpoints = 100_000;

/**
 * Keeps the newest `keep` whole dumps, what they need, what may be at work, and whatever is not of a dump. Nothing outside of the
 * numbered directories is looked at, so a dump elsewhere whose parent is in here is not known.
 * @throws Error of node:fs if there is no such directory.
 * @internal
 */
export function prune(path: string, keep: number, { dryRun = false } = {}): Pruning {
  const series = new ImageDirectory(path);
  try {
    const found = lookAt(series);
    const fates = fatesOf(found.checkpoints, keep);
    const faults = found.checkpoints.flatMap(({ number, faults }) => (fates.get(number)!.kept ? faults : []));
    const removes = !dryRun && faults.length === 0;
    const checkpoints = found.checkpoints.map(
      ({ number, is, space, foreign, identity }): PrunedCheckpoint => {
        const fate = fates.get(number)!;
        const failure = removes && !fate.kept ? remove(series, `${number}`, identity) : undefined;
        return {
          number,
          is,
          space,
          fate,
          ...(foreign === undefined ? {} : { foreign }),
          ...(failure === undefined ? {} : { failure }),
        };
      },
    );
    return { directory: path, checkpoints, faults };
  } finally {
    series.close();
  }
}

interface Found extends Checkpoint {
  readonly identity: string;
  readonly space: Space;
  readonly foreign: string | undefined;
  /** Of its chain of parents. */
  readonly faults: readonly Fault[];
}

function lookAt(series: ImageDirectory): { readonly checkpoints: readonly Found[] } {
  const numbers: number[] = [];
  for (const { name } of series.entries())
    if (/^[1-9]\d{0,14}$/.test(name) && numbers.length < mostCheckpoints) numbers.push(Number(name));
  const drafts: Draft[] = [];
  /** By the identity of a directory, of a checkpoint or of a round in it. */
  const places = new Map<string, number>();
  for (const number of numbers.sort((a, b) => a - b)) {
    const directory = series.below(`${number}`);
    if (!directory) continue;
    try {
      drafts.push(draftOf(number, directory, places));
    } finally {
      directory.close();
    }
  }
  return {
    checkpoints: drafts.map(({ chain, ...draft }) => ({
      ...draft,
      parents: [...new Set(chain.flatMap((identity) => places.get(identity) ?? []))].filter(
        (parent) => parent !== draft.number,
      ),
    })),
  };
}

interface Draft extends Omit<Found, 'parents'> {
  /** Identities of the directories that its parents lead through. */
  readonly chain: readonly string[];
}

function draftOf(number: number, directory: ImageDirectory, places: Map<string, number>): Draft {
  places.set(directory.identity, number);
  const space = { ...sizesIn(directory) };
  let foreign = space.files === 0 ? 'no image' : foreignIn(directory);
  for (const { name } of directory.entries()) {
    const round = isRoundName(name) ? directory.below(name) : undefined;
    if (!round) continue;
    try {
      places.set(round.identity, number);
      const within = foreignIn(round, 'round');
      foreign ??= within && `${name}/${within}`;
      const more = sizesIn(round);
      space.files += more.files;
      space.bytes += more.bytes;
      space.disk += more.disk;
    } finally {
      round.close();
    }
  }
  const reading = new Reading(directory);
  const chain: string[] = [];
  eachParent(reading, (parent) => chain.push(parent.identity));
  // A parent that leads nowhere protects nothing; a parent that cannot be opened might.
  const faults = reading.faults.filter(({ why }) => !/where no directory is$|^is no directory$/.test(why));
  const is = foreign === undefined ? kindOf(directory) : 'foreign';
  return { number, is, identity: directory.identity, space, foreign, chain, faults };
}

function kindOf(directory: ImageDirectory): Checkpoint['is'] {
  const inventory = new Reading(directory).each('inventory.img', 'INVENTORY', () => 'enough');
  if (inventory !== 'read') return 'incomplete';
  if (readTree(new Reading(directory)).tasks.length === 0 && !directory.stat('pstree.img')) return 'pre-dump';
  // Root's rights: the directory is judged, and not who restores it.
  const { findings } = verify(directory, { uid: 0, gid: 0, groups: [] }, undefined, 'small');
  return findings.items.some(({ verdict }) => verdict === 'does-not-restore') ? 'incomplete' : 'whole';
}

/** The name of a file that is not of a dump; undefined without one. */
function foreignIn(
  directory: ImageDirectory,
  within: 'checkpoint' | 'round' = 'checkpoint',
): string | undefined {
  for (const { name } of directory.entries()) {
    const stat = directory.stat(name);
    if (!stat) continue;
    const fits = isRoundName(name)
      ? within === 'checkpoint' && stat.isDirectory()
      : name === parentName
        ? stat.isSymbolicLink()
        : stat.isFile();
    if (!fits || !(isRoundName(name) || isFileOfDump(directory.place(name)))) return name;
  }
  return undefined;
}

/**
 * Removes a checkpoint by its open directory, so that an exchanged path leads nowhere else. Its inventory goes first: if this ends
 * half-way, the rest is no whole dump.
 * @returns why it is not gone.
 */
function remove(series: ImageDirectory, name: string, identity: string): string | undefined {
  try {
    const fd = openSync(
      series.place(name),
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
    );
    try {
      const { dev, ino } = fstatSync(fd);
      if (`${dev}:${ino}` !== identity) return 'another directory has taken its place';
      const directory = new ImageDirectory(`/proc/self/fd/${fd}`);
      try {
        empty(directory);
      } finally {
        directory.close();
      }
    } finally {
      closeSync(fd);
    }
    rmdirSync(series.place(name));
    return undefined;
  } catch (error) {
    // Leaves out the call and its path.
    return (error as Error).message.split(', ')[0]!;
  }
}

function empty(directory: ImageDirectory): void {
  const names = [...directory.entries()].map(({ name }) => name);
  const first = [manifestName, 'inventory.img'].filter((name) => names.includes(name));
  for (const name of [...first, ...names.filter((each) => !first.includes(each))]) {
    const round = isRoundName(name) ? directory.below(name) : undefined;
    if (!round) {
      if (isFileOfDump(directory.place(name))) unlinkSync(directory.place(name));
      continue;
    }
    try {
      empty(round);
    } finally {
      round.close();
    }
    rmdirSync(directory.place(name));
  }
}
