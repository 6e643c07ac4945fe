/** Images that were compressed or expanded, in words, and as an object. Pure. */
import type { Rested } from '../../images/at-rest.ts';
import { sanitize } from '../../systemd/log.ts';
import { counted, inBytes } from '../words.ts';

export function restedInWords({ directory, files }: Rested, way: 'compress' | 'expand'): string {
  if (files.length === 0)
    return sanitize(
      `${directory} has no image of pages that is ${way === 'compress' ? 'not compressed' : 'compressed'}`,
    );
  const { bytes, compressed } = sumOf(files);
  const [from, to] = way === 'compress' ? [bytes, compressed] : [compressed, bytes];
  return sanitize(
    `${counted(files.length, 'image')} of pages in ${directory} ${way}ed: ${inBytes(from)} are now ${inBytes(to)}`,
  );
}

/** The object of --json; man criuctl describes it. */
export function restedAsJson({ directory, files }: Rested, way: 'compress' | 'expand'): object {
  return { verb: 'images', action: way, directory, files, total: sumOf(files) };
}

export function sumOf(files: Rested['files']): { files: number; bytes: number; compressed: number } {
  const sum = { files: files.length, bytes: 0, compressed: 0 };
  for (const { bytes, compressed } of files) {
    sum.bytes += bytes;
    sum.compressed += compressed;
  }
  return sum;
}
