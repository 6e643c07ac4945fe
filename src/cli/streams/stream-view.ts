/** A directory that shows images with other standard streams. In a bundle of its own: only restores with such an option need it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { numberOf, readFields } from '../../protocol/fields.ts';
import type { Places } from '../directories.ts';
import { ImageView } from '../image-view.ts';
import { entriesOf, magic } from '../terminal/image-file.ts';
import { lost, type Replaced, replaced, type Stream, type StreamImages } from './stream-images.ts';

export { keyOf, type Stream, streamNames } from './stream-images.ts';

export type StreamView =
  | { readonly is: 'view'; readonly path: string; remove(): void }
  | Exclude<Replaced, { is: 'replaced' }>;

/** @throws as ImageView.make() */
export function streamViewOf({ images, work }: Places, streams: readonly Stream[]): StreamView {
  const changed = changedImages(images, streams);
  if (changed.is !== 'replaced') return changed;
  const view = ImageView.make(images, work, () => changed.images)!;
  return { is: 'view', path: view.path, remove: () => view.remove() };
}

/** The standard streams of the tree's root whose other end is in no image. Empty if the images cannot be read. */
export function lostStreams(images: string): readonly Stream[] {
  try {
    return lost(read(images));
  } catch {
    return [];
  }
}

function changedImages(images: string, streams: readonly Stream[]): Replaced {
  try {
    return replaced(read(images), streams);
  } catch {
    return { is: 'unreadable' };
  }
}

/** @throws errors of node:fs, and an error for damaged images. */
function read(images: string): StreamImages {
  const bytes = (name: string): Buffer => readFileSync(join(images, name));
  const only = (name: string, kind: number) => readFields(entriesOf(bytes(name), kind)![0]!);
  const root = numberOf(only('pstree.img', magic.pstree), rootPid);
  const table = numberOf(only(`ids-${root}.img`, magic.ids), filesId);
  const fdinfo = readdirSync(images).filter((name) => /^fdinfo-\d+\.img$/.test(name));
  return {
    files: bytes('files.img'),
    ttyInfo: existsSync(join(images, 'tty-info.img')) ? bytes('tty-info.img') : undefined,
    fdinfo: new Map(fdinfo.map((name) => [name, bytes(name)])),
    rootFdinfo: `fdinfo-${table}.img`,
  };
}

/** Fields of images/pstree.proto and images/core.proto (task_kobj_ids_entry). */
const rootPid = 1;
const filesId = 2;
