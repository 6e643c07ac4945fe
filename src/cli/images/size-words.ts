/** Sizes of images in words, and as an object. Pure. */
import type { ChainSizes, Space } from '../../images/sizes.ts';
import { sanitize } from '../../systemd/log.ts';
import { columns, counted, inBytes } from '../words.ts';
import { inWords } from './show-words.ts';

const mostLines = 50;

export function sizesInWords({ directories, faults }: ChainSizes): string {
  const rows = directories
    .slice(0, mostLines)
    .map(({ directory, files, bytes, disk, pages, inParents }) => [
      `${files}`,
      inBytes(bytes),
      inBytes(disk),
      inBytes(pages.bytes),
      inBytes(pages.disk),
      inBytes(inParents),
      sanitize(directory),
    ]);
  const more = directories.length - rows.length;
  const { files, bytes, disk } = total(directories);
  const packed = directories.reduce((sum, { compressed }) => sum + compressed.files, 0);
  const small = directories.reduce((sum, { compressed }) => sum + compressed.bytes, 0);
  const large = directories.reduce((sum, { compressed }) => sum + compressed.expanded, 0);
  return [
    ...columns([['FILES', 'BYTES', 'ON DISK', 'PAGES', 'ON DISK', 'IN PARENTS', 'DIRECTORY'], ...rows]),
    ...(more > 0 ? [`and ${more} more directories`] : []),
    `${files} files, ${inBytes(bytes)}, ${inBytes(disk)} on disk`,
    ...(packed > 0
      ? [
          `${counted(packed, 'image')} of pages compressed: ${inBytes(small)}, and ${inBytes(large)} when expanded`,
        ]
      : []),
    ...faults.map(inWords),
  ].join('\n');
}

function total(directories: readonly Space[]): { files: number; bytes: number; disk: number } {
  const sum = { files: 0, bytes: 0, disk: 0 };
  for (const { files, bytes, disk } of directories) {
    sum.files += files;
    sum.bytes += bytes;
    sum.disk += disk;
  }
  return sum;
}

/** The object of --json; man criuctl describes it. */
export function sizesAsJson({ directories, faults }: ChainSizes): object {
  return { verb: 'images', action: 'size', directories, total: total(directories), faults };
}
