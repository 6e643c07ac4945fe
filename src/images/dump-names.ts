/** Names of the files that a dump writes, beside which a directory has only what its user put there. Pure. */
import { manifestName, unfinishedManifestName } from './manifest/names.ts';
import { isRoundName } from './round-names.ts';

/** All files that CRIU reads and writes as images have such a name (criu/image-desc.c). */
export function isImage(name: string): boolean {
  return name.endsWith('.img');
}

/** A file of this name is a manifest only if it begins as a manifest. */
export function isManifestName(name: string): boolean {
  return name === manifestName || name === unfinishedManifestName;
}

/** While a criuctl dumps into a directory, it holds a lock of this file. */
export const lockName = 'criuctl.lock';

/** An image, a round, a manifest, the link to the images before, a log, CRIU's statistics, or the lock of a dump in flight. */
export function isOfDump(name: string): boolean {
  return (
    isImage(name) ||
    isRoundName(name) ||
    isManifestName(name) ||
    name === 'parent' ||
    name.endsWith('.log') ||
    name === 'stats-dump' ||
    name === 'stats-restore' ||
    name === lockName
  );
}
