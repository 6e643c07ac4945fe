/** The actions of `criuctl images`, in a bundle of their own: other verbs start without the reader of images. */
import { basename, dirname } from 'node:path';
import { compare as compared } from '../../images/compare.ts';
import { type Contents, contentsOf, type TaskContents } from '../../images/contents.ts';
import { decode, type Write } from '../../images/decode.ts';
import { leaveUnread, readExpanded, withoutZstd } from '../../images/expanded.ts';
import { ImageDirectory } from '../../images/image-directory.ts';
import { ImageError } from '../../images/image-error.ts';
import { ImageFile } from '../../images/image-file.ts';
import type { Machine } from '../../images/machine.ts';
import type { Manifest } from '../../images/manifest/format.ts';
import { manifestOfDump } from '../../images/manifest/judge-manifest.ts';
import { readManifest } from '../../images/manifest/read-manifest.ts';
import { merge as merged } from '../../images/merge.ts';
import { opening } from '../../images/opening.ts';
import { prune as pruned } from '../../images/prune.ts';
import { Reading } from '../../images/reading.ts';
import { chainSizes } from '../../images/sizes.ts';
import type { Circumstances } from '../../images/verdicts.ts';
import { type Finding, verify as verified } from '../../images/verify.ts';
import { differenceAsJson, differenceInWords } from './compare-words.ts';
import { mergedAsJson, mergedInWords } from './merge-words.ts';
import { pruningAsJson, pruningInWords } from './prune-words.ts';
import { asJson, tableOf } from './show-words.ts';
import { sizesAsJson, sizesInWords } from './size-words.ts';
import { verdictAsJson, verdictInWords } from './verify-words.ts';

export interface Told {
  readonly text: string;
  readonly json: object;
  /** Images that cannot be read. */
  readonly faults: number;
}

/** @throws Error of node:fs if there is no such directory. */
export function show(path: string, userName: (uid: number) => string): Told {
  return opening(path, (directory) => {
    const found = contentsOf(directory);
    const reading = new Reading(directory);
    const manifest = reading.guarded(() => readManifest(directory));
    const contents: Contents = {
      ...found,
      tasks:
        found.compressed.files === 0
          ? found.tasks
          : found.tasks.map(withWordsOf(reading.guarded(() => manifestOfDump(directory)))),
      criu: found.criu ?? manifest?.criu,
      kernel: found.kernel ?? (manifest && `Linux ${manifest.machine.kernel}`),
      faults: [...found.faults, ...reading.faults],
    };
    return {
      text: tableOf(contents, manifest, userName),
      json: asJson(contents, manifest),
      faults: contents.faults.length,
    };
  });
}

/** Command lines lie in the pages; where those are compressed, the manifest has them. */
function withWordsOf(manifest: Manifest | undefined): (task: TaskContents) => TaskContents {
  const words = new Map(manifest?.tasks.map(({ pid, commandLine }) => [pid, commandLine]));
  return (task) =>
    task.commandLine.length > 0 ? task : { ...task, commandLine: words.get(task.pid) ?? task.commandLine };
}

/**
 * @param untrusted why compressed pages are not given to zstd, with the remedy; undefined to read them.
 * @throws Error of node:fs if there is no such directory.
 */
export async function verify(
  path: string,
  circumstances: Circumstances,
  machine: Machine,
  untrusted: (directory: ImageDirectory) => { readonly why: string; readonly remedy: string } | undefined,
): Promise<Told & { readonly restores: boolean }> {
  const directory = new ImageDirectory(path);
  try {
    const distrust = untrusted(directory);
    const expanded = distrust
      ? leaveUnread(directory, distrust.why, distrust.remedy)
      : await readExpanded(directory);
    const verification = verified(directory, circumstances, machine, 'all', expanded);
    return {
      text: verdictInWords(verification),
      json: verdictAsJson(verification),
      faults: 0,
      restores: verification.verdict !== 'does-not-restore',
    };
  } finally {
    directory.close();
  }
}

/** @throws Error of node:fs if a directory is missing. */
export function compare(first: string, second: string): Told {
  return opening(first, (a) =>
    opening(second, (b) => {
      const difference = compared(a, b);
      return {
        text: differenceInWords(difference),
        json: differenceAsJson(difference),
        faults: difference.faults.length,
      };
    }),
  );
}

/** @throws Error of node:fs if there is no such directory. */
export function size(path: string): Told {
  return opening(path, (directory) => {
    const sizes = chainSizes(directory);
    return { text: sizesInWords(sizes), json: sizesAsJson(sizes), faults: sizes.faults.length };
  });
}

/** @throws Error of node:fs if there is no such directory. */
export function prune(path: string, keep: number, dryRun: boolean): Told {
  const pruning = pruned(path, keep, { dryRun });
  const failures = pruning.checkpoints.filter(({ failure }) => failure !== undefined).length;
  return {
    text: pruningInWords(pruning, dryRun),
    json: pruningAsJson(pruning, dryRun),
    faults: pruning.faults.length + failures,
  };
}

/** @throws UnmergeableError, Error of node:fs */
export async function merge(
  path: string,
  to: string,
  circumstances: Circumstances,
  digestPages: boolean,
): Promise<Told> {
  const made = await merged(path, to, circumstances, { digestPages });
  return { text: mergedInWords(made), json: mergedAsJson(made), faults: 0 };
}

/** What is in the way of a restore in the images themselves. @throws Error of node:fs if there is no such directory. */
export function incompleteness(path: string, circumstances: Circumstances): readonly Finding[] {
  return opening(path, (directory) => {
    const { findings } = verified(directory, circumstances, undefined, 'small', {
      things: withoutZstd(directory, 'chain'),
      digests: new Map(),
    });
    return findings.items.filter(({ verdict }) => verdict === 'does-not-restore');
  });
}

/** Writes an image as JSON. @returns why it cannot, perhaps after a part. @throws Error of node:fs for its directory. */
export function decodeFile(path: string, write: Write): string | undefined {
  try {
    const image = opening(dirname(path), (directory) => ImageFile.open(directory, basename(path)));
    if (!image) return `${path}: there is no such file`;
    try {
      decode(image, write);
      return undefined;
    } finally {
      image.close();
    }
  } catch (error) {
    if (error instanceof ImageError) return error.message;
    throw error;
  }
}
