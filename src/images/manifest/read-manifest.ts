/** Reads the manifest of a directory of images. */
import { closeSync } from 'node:fs';
import { ImageDirectory, readAt } from '../image-directory.ts';
import { ImageError } from '../image-error.ts';
import { type Manifest, ManifestError, mostManifestBytes, parseManifest } from './format.ts';
import { beginsAsManifest, manifestName } from './names.ts';

const beginningBytes = 128;

/**
 * Follows no link, waits for no FIFO, and reads at most 16 MiB.
 * @param directory a path, or an open directory, which stays open.
 * @returns undefined if there is no manifest, or a file of that name that is none of a dump.
 * @throws ImageError if the manifest cannot be read; Error of node:fs if there is no such directory.
 */
export function readManifest(directory: string | ImageDirectory): Manifest | undefined {
  if (typeof directory !== 'string') return readFrom(directory);
  const opened = new ImageDirectory(directory);
  try {
    return readFrom(opened);
  } finally {
    opened.close();
  }
}

function readFrom(directory: ImageDirectory): Manifest | undefined {
  const broken = (why: string): ImageError => new ImageError(manifestName, undefined, why, 'unread');
  if (directory.stat(manifestName)?.isFile() !== true) return undefined;
  const opened = directory.open(manifestName);
  if (!opened) return undefined;
  try {
    const begin = Buffer.alloc(beginningBytes);
    if (!beginsAsManifest(begin.toString('utf8', 0, readAt(opened.fd, manifestName, begin, 0, 0))))
      return undefined;
    const { size } = opened.stat;
    if (size > mostManifestBytes)
      throw broken(`has ${size} bytes, and at most ${mostManifestBytes} are read`);
    const text = Buffer.alloc(size);
    let bytes = 0;
    for (let read = -1; read !== 0 && bytes < size; bytes += read)
      read = readAt(opened.fd, manifestName, text, bytes, bytes);
    return parseManifest(text.toString('utf8', 0, bytes));
  } catch (error) {
    if (error instanceof ManifestError) throw broken(error.message);
    throw error;
  } finally {
    closeSync(opened.fd);
  }
}
