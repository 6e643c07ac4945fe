/** Are the images those that the manifest lists? And was the dump made by such a processor? */
import { closeSync } from 'node:fs';
import { eachParent } from '../chain.ts';
import { sizeOfCompressed } from '../compressed.ts';
import { compressedName } from '../dump-names.ts';
import type { ImageDirectory } from '../image-directory.ts';
import type { OpenFile } from '../open-regular.ts';
import type { Reading } from '../reading.ts';
import type { Thing } from '../things.ts';
import { digestOf } from './digest.ts';
import { dumpUptimeOf } from './dump-uptime.ts';
import type { Manifest, ManifestFile } from './format.ts';
import { cpuHere } from './machine-facts.ts';
import { manifestName } from './names.ts';
import { readManifest } from './read-manifest.ts';

/** How much is read. `all`: each digest that the manifest has. `small`: those of pages are left out, for a look that takes no time. */
export type Thoroughness = 'all' | 'small';

/** Digests of the pages in compressed images, by the names of the images of pages: to expand them takes a program. */
export type Digests = ReadonlyMap<string, string>;

/** Reading this takes less time than the restore needs for it. */
const mostBytesAtOnce = 64 << 20;

/** A file of a terabyte need not have any bytes on the disk. Holes are read at some gigabytes each second. */
const mostHoles = 8 * 2 ** 30;

const ofPages = /(^|\/)pages-[^/]*$/;
const ofMemory = /^page(s|map)-[^/]*$/;

/**
 * @param known images with a fault that was told already.
 * @param withMachine compares the processor, too.
 * @returns the manifest; undefined if there is none of this dump.
 */
export function judgeManifest(
  reading: Reading,
  tell: (thing: Thing) => void,
  known: ReadonlySet<string>,
  {
    thoroughness,
    withMachine,
    digests,
  }: { readonly thoroughness: Thoroughness; readonly withMachine: boolean; readonly digests: Digests },
): Manifest | undefined {
  const manifest = reading.guarded(() => readManifest(reading.directory));
  judgeParents(reading, tell);
  if (!manifest) return undefined;
  /** Files that are not as they were; of the others the number is told. */
  const things: Thing[] = [];
  let same = 0;
  const keep = (thing: Thing): void => {
    if (thing.kind === 'listed file' && thing.is === 'as it was') same += 1;
    else things.push(thing);
  };
  const files = new Files(reading, keep, thoroughness, { digests });
  for (const file of manifest.files)
    if (!known.has(file.name) && !known.has(compressedName(file.name))) files.file(file);
  files.end();
  const differs = things.length > 0;
  if (isOfAnotherDump(reading.directory, manifest) || (differs && isOlderThanImages(reading.directory))) {
    tell({ kind: 'manifest of another dump' });
    return undefined;
  }
  for (const thing of things) tell(thing);
  for (; same > 0; same--) tell({ kind: 'listed file', file: manifestName, is: 'as it was' });
  if (withMachine) {
    const { model, flags } = manifest.machine.cpu;
    const here = cpuHere();
    tell({ kind: 'processor', dumped: model, here: here.model, same: flags === here.flags });
  }
  return manifest;
}

/** @returns undefined without a manifest of this dump. @throws ImageError if it cannot be read. */
export function manifestOfDump(directory: ImageDirectory): Manifest | undefined {
  const manifest = readManifest(directory);
  return manifest && !isOfAnotherDump(directory, manifest) ? manifest : undefined;
}

/** Another program may have dumped into the directory later, and left the manifest of the earlier dump. */
function isOfAnotherDump(directory: ImageDirectory, { dumpUptime }: Manifest): boolean {
  const here = dumpUptimeOf(directory);
  return dumpUptime !== undefined && here !== undefined && here !== dumpUptime;
}

/** Images that each dump writes. Without tracking of memory CRIU puts no time into the inventory; then the times of these files count. */
const ofEachDump = ['inventory.img', 'pstree.img', 'files.img'];

export function isOlderThanImages(directory: ImageDirectory): boolean {
  const written = directory.stat(manifestName)?.mtimeMs ?? Number.POSITIVE_INFINITY;
  return ofEachDump.every((name) => (directory.stat(name)?.mtimeMs ?? 0) > written);
}

/** A directory of images before has its own manifest. Memory alone is read there, and --auto-dedup punches holes into its pages. */
function judgeParents(reading: Reading, tell: (thing: Thing) => void): void {
  eachParent(reading.apart(), (parent) => {
    const manifest = reading.guarded(() => readManifest(parent));
    if (!manifest || isOfAnotherDump(parent, manifest)) return;
    const judge = new Files(reading.apart(parent), tell, 'small', { prefix: `${parent.path}/` });
    for (const file of manifest.files) if (ofMemory.test(file.name)) judge.file(file);
    judge.end();
  });
}

/** Compares files with their entries; those of a round in a row, with the round's directory open. */
class Files {
  readonly #reading: Reading;
  readonly #tell: (thing: Thing) => void;
  readonly #thoroughness: Thoroughness;
  readonly #prefix: string;
  readonly #digests: Digests;
  #holesLeft = mostHoles;
  #round: { readonly name: string; readonly directory: ImageDirectory | undefined } | undefined;

  constructor(
    reading: Reading,
    tell: (thing: Thing) => void,
    thoroughness: Thoroughness,
    { prefix = '', digests = new Map() }: { readonly prefix?: string; readonly digests?: Digests } = {},
  ) {
    this.#digests = digests;
    this.#reading = reading;
    this.#tell = tell;
    this.#thoroughness = thoroughness;
    this.#prefix = prefix;
  }

  file({ name, bytes, sha256 }: ManifestFile): void {
    const file = this.#prefix + name;
    const [image, round] = name.split('/').reverse() as [string, string?];
    this.#reading.guarded(() => {
      const directory = this.#directoryOf(round);
      const opened = directory?.open(image);
      if (!opened) {
        this.#compressed(directory, image, { file, bytes, sha256 });
        return;
      }
      try {
        const here = opened.stat.size;
        if (here !== bytes)
          this.#tell({ kind: 'listed file', file, is: 'of another size', bytes: here, wanted: bytes });
        else this.#tell({ kind: 'listed file', file, is: this.#compare(opened, file, sha256) });
      } finally {
        closeSync(opened.fd);
      }
    });
  }

  end(): void {
    this.#round?.directory?.close();
    this.#round = undefined;
  }

  #compressed(
    directory: ImageDirectory | undefined,
    image: string,
    { file, bytes: wanted, sha256 }: { file: string; bytes: number; sha256: string | undefined },
  ): void {
    const bytes = directory && sizeOfCompressed(directory, image);
    if (bytes === undefined) this.#tell({ kind: 'listed file', file, is: 'absent' });
    else if (bytes !== wanted)
      this.#tell({ kind: 'listed file', file: compressedName(file), is: 'of another size', bytes, wanted });
    else
      this.#tell({
        kind: 'listed file',
        file: compressedName(file),
        is: this.#compareExpanded(file, sha256),
      });
  }

  #compareExpanded(file: string, sha256: string | undefined): 'as it was' | 'changed' | 'compressed' {
    if (sha256 === undefined || this.#thoroughness === 'small') return 'as it was';
    const digest = this.#digests.get(file);
    return digest === undefined ? 'compressed' : digest === sha256 ? 'as it was' : 'changed';
  }

  #compare(
    { fd, stat }: OpenFile,
    file: string,
    sha256: string | undefined,
  ): 'as it was' | 'changed' | 'not read' {
    if (sha256 === undefined) return 'as it was';
    if (this.#thoroughness === 'small' && (ofPages.test(file) || stat.size > mostBytesAtOnce))
      return 'as it was';
    this.#holesLeft -= Math.max(0, stat.size - stat.blocks * 512);
    if (this.#holesLeft < 0) return 'not read';
    return digestOf(fd, file) === sha256 ? 'as it was' : 'changed';
  }

  #directoryOf(round: string | undefined): ImageDirectory | undefined {
    if (round === undefined) return this.#reading.directory;
    if (this.#round?.name !== round) {
      this.end();
      this.#round = { name: round, directory: this.#reading.directory.below(round) };
    }
    return this.#round?.directory;
  }
}
