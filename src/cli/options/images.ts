/** Options about the directory of the images. */
import { flag, names, text } from './builders.ts';
import { dumps, images, type OptionRow } from './row.ts';

export const imageOptions: readonly OptionRow[] = [
  text(
    '-D, --images-dir',
    'dir',
    'imagesDir',
    [...images, 'check'],
    'Images',
    'directory of the images (default: .)',
    'directory',
  ),
  text(
    '-W, --work-dir',
    'dir',
    'workDir',
    images,
    'Images',
    'directory of the log and the statistics (default: that of the images)',
    'directory',
  ),
  text(
    '--prev-images-dir',
    'dir',
    'parentImg',
    [...dumps, 'page-server'],
    'Images',
    'images of the previous dump, relative to -D',
    'directory',
  ),
  {
    ...names('--replace'),
    verbs: dumps,
    group: 'Images',
    help: 'replace the images of an earlier dump, in one step and only when the new ones are complete',
  },
  {
    ...names('--digest-pages'),
    verbs: ['dump', 'images'],
    group: 'Images',
    help: 'write digests of the pages into the manifest, too: a second for each gigabyte or two',
  },
  {
    ...names('--compress'),
    verbs: ['dump'],
    group: 'Images',
    help: 'compress the pages with zstd when the dump is complete; a restore expands them first',
  },
  flag(
    '--auto-dedup',
    'autoDedup',
    images,
    'Images',
    'punch pages out of older images as they become redundant',
  ),
  {
    ...names('--pidfile'),
    value: { name: 'file', completion: 'file' },
    verbs: ['restore'],
    group: 'Images',
    help: 'write the pid of the restored root to this file',
  },
  {
    ...names('--no-verify'),
    verbs: ['restore'],
    group: 'Images',
    help: 'let CRIU try images that are incomplete',
  },
  {
    ...names('--keep'),
    value: { name: 'number', completion: 'nothing' },
    verbs: ['images', 'run'],
    group: 'Images',
    help: 'number of dumps that prune keeps, or checkpoints of a job that stay (default: 3), at least 1',
  },
  {
    ...names('--dry-run'),
    verbs: ['images'],
    group: 'Images',
    help: 'tell which dumps prune would remove, and remove nothing',
  },
];
