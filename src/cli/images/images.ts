/** The actions of `criuctl images`, in a bundle of their own: other verbs start without the reader of images. */
import { basename, dirname } from 'node:path';
import { contentsOf } from '../../images/contents.ts';
import { decode, type Write } from '../../images/decode.ts';
import { ImageDirectory } from '../../images/image-directory.ts';
import { ImageError } from '../../images/image-error.ts';
import { ImageFile } from '../../images/image-file.ts';
import type { Circumstances } from '../../images/verdicts.ts';
import { type Finding, type Machine, verify as verified } from '../../images/verify.ts';
import { asJson, tableOf } from './show-words.ts';
import { verdictAsJson, verdictInWords } from './verify-words.ts';

export interface Told {
  readonly text: string;
  readonly json: object;
  /** Images that cannot be read. */
  readonly faults: number;
}

/** @throws Error of node:fs if there is no such directory. */
export function show(path: string, userName: (uid: number) => string): Told {
  const directory = new ImageDirectory(path);
  try {
    const contents = contentsOf(directory);
    return { text: tableOf(contents, userName), json: asJson(contents), faults: contents.faults.length };
  } finally {
    directory.close();
  }
}

/** @throws Error of node:fs if there is no such directory. */
export function verify(
  path: string,
  circumstances: Circumstances,
  machine: Machine,
): Told & { readonly restores: boolean } {
  const directory = new ImageDirectory(path);
  try {
    const verification = verified(directory, circumstances, machine);
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

/** What is in the way of a restore in the images themselves. @throws Error of node:fs if there is no such directory. */
export function incompleteness(path: string, circumstances: Circumstances): readonly Finding[] {
  const directory = new ImageDirectory(path);
  try {
    const { findings } = verified(directory, circumstances, undefined);
    return findings.items.filter(({ verdict }) => verdict === 'does-not-restore');
  } finally {
    directory.close();
  }
}

/** Writes an image as JSON. @returns why it cannot, perhaps after a part. @throws Error of node:fs for its directory. */
export function decodeFile(path: string, write: Write): string | undefined {
  const directory = new ImageDirectory(dirname(path));
  try {
    const image = ImageFile.open(directory, basename(path));
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
  } finally {
    directory.close();
  }
}
