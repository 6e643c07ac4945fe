/** The name of a manifest, and how it begins: many programs have a file of that name, which no dump may replace or remove. */
import { closeSync, readSync } from 'node:fs';
import { openRegular } from '../open-regular.ts';

export const manifestName = 'manifest.json';

/** The manifest until it is complete. */
export const unfinishedManifestName = 'manifest.json.new';

/** The first member of the object. */
export const manifestFormat = 'criu-service.manifest';

const beginning = /^\s*\{\s*"format"\s*:\s*"criu-service\.manifest"/;
const beginningBytes = 128;

/** True for a text that begins as a manifest of a dump. */
export function beginsAsManifest(text: string): boolean {
  return beginning.test(text);
}

/** True if a file is a manifest of a dump, finished or not. Follows no link, and waits for no FIFO. */
export function isManifestFile(path: string): boolean {
  try {
    const opened = openRegular(path, 'as they are');
    if (!('fd' in opened)) return false;
    try {
      const buffer = Buffer.alloc(beginningBytes);
      return beginsAsManifest(buffer.toString('utf8', 0, readSync(opened.fd, buffer, 0, beginningBytes, 0)));
    } finally {
      closeSync(opened.fd);
    }
  } catch {
    return false;
  }
}
