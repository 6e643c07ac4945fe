/**
 * Compresses the pages of a finished dump, and expands them again. At each moment an image of pages is there whole: as it was, or compressed
 * and compared with it. A file is written beside its place under another name, compared, flushed and renamed; only then the
 * other form goes. So a run that was killed anywhere loses nothing, and the same command finishes its work.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { type CompressedPages, compressedIn, missingIn, openCompressed } from './compressed.ts';
import { compressedName, isPages, isUnfinishedPages, unfinishedName } from './dump-names.ts';
import type { ImageDirectory } from './image-directory.ts';
import { ImageError } from './image-error.ts';
import { digestElsewhere } from './manifest/digest.ts';
import type { ManifestFile } from './manifest/format.ts';
import { isOlderThanImages, manifestOfDump } from './manifest/judge-manifest.ts';
import type { OpenFile } from './open-regular.ts';
import { Reading } from './reading.ts';
import { isRoundName } from './round-names.ts';
import { compressed, expanded } from './zstd.ts';

/** Moments at which a kill was tried. */
export type Step = 'begun' | 'in the middle' | 'written' | 'compared' | 'flushed' | 'named' | 'removed';

export interface AtRestOptions {
  readonly signal?: AbortSignal | undefined;
  /** For tests: gets each step of each file. */
  readonly at?: ((step: Step, file: string) => void) | undefined;
}

/** An image of pages that was compressed or expanded. */
export interface RestedFile {
  /** The image of pages, in a round with the round's name. */
  readonly file: string;
  readonly bytes: number;
  readonly compressed: number;
}

export interface Rested {
  readonly directory: string;
  readonly files: readonly RestedFile[];
}

/**
 * Compresses the images of pages of a dump, and of its rounds. Images that are compressed already stay so.
 * @throws ImageError, ZstdError, Error of node:fs; images that were compressed before that stay so.
 */
export async function compress(directory: ImageDirectory, options: AtRestOptions = {}): Promise<Rested> {
  if (directory.sizeOf('inventory.img') === 'absent')
    throw new ImageError('inventory.img', undefined, 'is missing: this is no finished dump');
  return eachPart(directory, (part) => part.compress(pagesIn(part.directory)), options);
}

/**
 * Expands the images of pages of a dump, and of its rounds.
 * @throws as {@link compress}
 */
export function expand(directory: ImageDirectory, options: AtRestOptions = {}): Promise<Rested> {
  return eachPart(directory, (part) => part.expand(compressedIn(part.directory)), options);
}

/**
 * Expands the images of pages that are not there, in a directory of a chain; a round is a directory of its own there.
 * @throws as {@link compress}
 */
export async function expandMissing(directory: ImageDirectory, options: AtRestOptions = {}): Promise<Rested> {
  const part = new Part(directory, listedIn(directory), '', options);
  return { directory: directory.path, files: await part.expand(missingIn(directory)) };
}

/** @returns the digest of the pages in a compressed image, which is read to its end. @throws ImageError, ZstdError */
export async function digestOfCompressed(
  { fd, name, bytes }: CompressedPages,
  signal?: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256');
  let size = 0;
  await expanded(
    fd,
    (piece) => {
      size += piece.length;
      if (size > bytes)
        throw new ImageError(name, undefined, `has more pages than the ${bytes} bytes it tells`);
      hash.update(piece);
    },
    signal,
  );
  if (size < bytes) throw new ImageError(name, undefined, `has ${size} bytes of pages, and tells ${bytes}`);
  return hash.digest('hex');
}

async function eachPart(
  directory: ImageDirectory,
  work: (part: Part) => Promise<readonly RestedFile[]>,
  options: AtRestOptions,
): Promise<Rested> {
  const listed = listedIn(directory);
  const files = [...(await work(new Part(directory, listed, '', options)))];
  const rounds = [...directory.entries()].map(({ name }) => name).filter(isRoundName);
  for (const round of rounds.sort()) {
    const below = directory.below(round);
    if (!below) continue;
    try {
      files.push(...(await work(new Part(below, listed, `${round}/`, options))));
    } finally {
      below.close();
    }
  }
  return { directory: directory.path, files };
}

interface Listed {
  readonly files: ReadonlyMap<string, ManifestFile>;
  /** Where images differ from this manifest, it is of an earlier dump. */
  readonly isOlder: boolean;
}

/** A manifest that cannot be read, or that is of another dump, says nothing; then the checksum of zstd counts alone. */
function listedIn(directory: ImageDirectory): Listed {
  const manifest = new Reading(directory).guarded(() => manifestOfDump(directory));
  return {
    files: new Map(manifest?.files.map((file) => [file.name, file])),
    isOlder: isOlderThanImages(directory),
  };
}

/** An empty image stays as it is: nothing is gained. */
function pagesIn(directory: ImageDirectory): string[] {
  return [...directory.entries()]
    .map(({ name }) => name)
    .filter((name) => isPages(name) && directory.sizeOf(name) !== 0)
    .sort();
}

/** A file that this run has made. */
interface Made {
  readonly name: string;
  readonly dev: bigint;
  readonly ino: bigint;
}

const holeBytes = 4096;
const zeros = Buffer.alloc(holeBytes);

/** A directory of the dump: its own, or that of a round. */
class Part {
  readonly directory: ImageDirectory;
  readonly #listed: Listed;
  readonly #prefix: string;
  readonly #signal: AbortSignal | undefined;
  readonly #at: (step: Step, file: string) => void;

  constructor(
    directory: ImageDirectory,
    listed: Listed,
    prefix: string,
    { signal, at = () => undefined }: AtRestOptions,
  ) {
    this.directory = directory;
    this.#listed = listed;
    this.#prefix = prefix;
    this.#signal = signal;
    this.#at = at;
  }

  async compress(names: readonly string[]): Promise<readonly RestedFile[]> {
    this.#sweep();
    const done: RestedFile[] = [];
    for (const name of names) {
      const original = this.directory.open(name);
      if (!original) continue;
      try {
        const { size } = original.stat;
        const file = { file: this.#prefix + name, bytes: size };
        done.push({ ...file, compressed: await this.#compressOne(name, original) });
      } finally {
        closeSync(original.fd);
      }
    }
    return done;
  }

  async expand(names: readonly string[]): Promise<readonly RestedFile[]> {
    this.#sweep();
    const done: RestedFile[] = [];
    for (const name of names) {
      const packed = openCompressed(this.directory, name);
      if (!packed) continue;
      try {
        await this.#expandOne(name, packed);
        done.push({ file: this.#prefix + name, bytes: packed.bytes, compressed: packed.stat.size });
      } finally {
        closeSync(packed.fd);
      }
    }
    return done;
  }

  /** @returns the size of the compressed image. */
  async #compressOne(name: string, { fd, stat }: OpenFile): Promise<number> {
    const begun = fstatSync(fd, { bigint: true });
    this.#at('begun', name);
    const digest = await digestElsewhere(fd, this.#signal);
    this.#requireListed(name, { bytes: stat.size, digest });
    // A run that was killed between the name of this file and the end of the other.
    const before = openCompressed(this.directory, name);
    if (before) {
      try {
        await this.#requireSame(before, name, digest);
        this.#remove(name, fd, begun, identityOf(before.fd, before.name));
      } finally {
        closeSync(before.fd);
      }
      return before.stat.size;
    }
    const packed = compressedName(name);
    let size = 0;
    const fill = async (aside: number, asideName: string): Promise<void> => {
      await compressed(
        fd,
        stat.size,
        (piece) => {
          writeAll(aside, piece, size);
          size += piece.length;
          this.#at('in the middle', name);
        },
        this.#signal,
      );
      this.#at('written', name);
      await this.#requireAsideSame(asideName, name, digest);
      this.#at('compared', name);
    };
    await this.#write(packed, stat, fill, (made) => {
      this.#at('named', name);
      try {
        this.#remove(name, fd, begun, made);
      } catch (error) {
        // It is of pages that are no more, and the next run would refuse it.
        if (isMovedOn(error)) this.#removeMade(made);
        throw error;
      }
    });
    return size;
  }

  async #expandOne(name: string, packed: CompressedPages): Promise<void> {
    const begun = fstatSync(packed.fd, { bigint: true });
    this.#at('begun', name);
    const there = this.directory.open(name);
    if (there) {
      try {
        await this.#requireSame(packed, name, await digestElsewhere(there.fd, this.#signal));
        this.#remove(packed.name, packed.fd, begun, identityOf(there.fd, name));
      } finally {
        closeSync(there.fd);
      }
    } else {
      const fill = async (aside: number): Promise<void> => {
        const digest = await this.#unpack(packed, aside, name);
        this.#at('written', name);
        this.#requireListed(name, { bytes: packed.bytes, digest });
        this.#at('compared', name);
      };
      await this.#write(name, packed.stat, fill, (made) => {
        this.#at('named', name);
        this.#remove(packed.name, packed.fd, begun, made);
      });
    }
  }

  /** Pages of zeros become holes. @returns the digest of the pages. */
  async #unpack({ fd, name, bytes }: CompressedPages, aside: number, pages: string): Promise<string> {
    const hash = createHash('sha256');
    let size = 0;
    await expanded(
      fd,
      (piece) => {
        // A file that tells less than it has could fill the disk.
        if (size + piece.length > bytes)
          throw new ImageError(name, undefined, `has more pages than the ${bytes} bytes it tells`);
        hash.update(piece);
        writeWithHoles(aside, piece, size);
        size += piece.length;
        this.#at('in the middle', pages);
      },
      this.#signal,
    );
    if (size < bytes) throw new ImageError(name, undefined, `has ${size} bytes of pages, and tells ${bytes}`);
    ftruncateSync(aside, bytes);
    return hash.digest('hex');
  }

  /**
   * Writes a file beside its place, and gives it its name when it is on the disk.
   * @param like its owner and its mode are those of this file.
   * @param then with the file still open: no other file can have its number.
   */
  async #write(
    name: string,
    like: Stats,
    fill: (aside: number, asideName: string) => Promise<void>,
    then: (made: Made) => void,
  ): Promise<void> {
    const asideName = unfinishedName(name, { pid: process.pid, chance: randomBytes(6).toString('hex') });
    const aside = this.directory.place(asideName);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const fd = openSync(aside, flags, 0o600);
    try {
      const made = identityOf(fd, asideName);
      try {
        const { uid, gid } = fstatSync(fd);
        if (process.geteuid!() === 0 && (uid !== like.uid || gid !== like.gid))
          fchownSync(fd, like.uid, like.gid);
        fchmodSync(fd, like.mode & 0o777);
        await fill(fd, asideName);
        this.#signal?.throwIfAborted();
        flush(fd);
        this.#at('flushed', name);
        this.#requireMade(made);
        renameSync(aside, this.directory.place(name));
      } catch (error) {
        this.#removeMade(made);
        throw error;
      }
      this.#requireMade({ ...made, name });
      this.directory.flush();
      then({ ...made, name });
    } finally {
      closeSync(fd);
    }
  }

  /**
   * Removes a file whose other form is there, on the disk.
   * @param before of the file, when its pages had not been read yet.
   * @throws ImageError if the file is not the file that was read, or if the other form is not the file that was compared.
   */
  #remove(name: string, fd: number, before: BigIntStats, other: Made): void {
    this.#requireMade(other);
    const now = fstatSync(fd, { bigint: true });
    // A change of the content within the same time of the clock shows by its size, and others by the time of the last change.
    const isSame =
      now.size === before.size && now.mtimeNs === before.mtimeNs && now.ctimeNs === before.ctimeNs;
    if (!isSame || !this.#isThere({ name, dev: before.dev, ino: before.ino }))
      throw new ImageError(this.#prefix + name, undefined, movedOn, 'unread');
    unlinkSync(this.directory.place(name));
    this.directory.flush();
    this.#at('removed', name);
  }

  /** The name is that of this very file: another run, or its user, may have removed it or put another there. */
  #isThere({ name, dev, ino }: Made): boolean {
    const there = lstatSync(this.directory.place(name), { bigint: true, throwIfNoEntry: false });
    return there?.dev === dev && there.ino === ino;
  }

  /** @throws ImageError */
  #requireMade(made: Made): void {
    if (!this.#isThere(made))
      throw new ImageError(
        this.#prefix + made.name,
        undefined,
        'was removed or exchanged meanwhile',
        'unread',
      );
  }

  #removeMade(made: Made): void {
    try {
      if (this.#isThere(made)) unlinkSync(this.directory.place(made.name));
    } catch {
      // The next run removes it, or says that it has other pages.
    }
  }

  /** @throws ImageError if the manifest has another size, or another digest, of the pages. */
  #requireListed(name: string, { bytes, digest }: { readonly bytes: number; readonly digest: string }): void {
    const file = this.#prefix + name;
    const listed = this.#listed.isOlder ? undefined : this.#listed.files.get(file);
    if (!listed) return;
    if (listed.bytes !== bytes)
      throw new ImageError(
        file,
        undefined,
        `has ${bytes} bytes, and had ${listed.bytes} when the dump was complete`,
      );
    if (listed.sha256 !== undefined && listed.sha256 !== digest)
      throw new ImageError(file, undefined, 'was changed after the dump: its digest is another');
  }

  async #requireAsideSame(asideName: string, pages: string, digest: string): Promise<void> {
    const aside = openCompressed(this.directory, pages, asideName);
    if (!aside) throw new ImageError(this.#prefix + asideName, undefined, 'was removed meanwhile', 'unread');
    await this.#requireSame(aside, pages, digest).finally(() => closeSync(aside.fd));
  }

  /** @throws ImageError if the compressed image has other pages. */
  async #requireSame(packed: CompressedPages, pages: string, digest: string): Promise<void> {
    if ((await digestOfCompressed(packed, this.#signal)) === digest) return;
    throw new ImageError(
      this.#prefix + packed.name,
      undefined,
      `has other pages than ${pages} beside it: remove the wrong file of the two`,
    );
  }

  /** Leftovers of runs that were killed: the directory is claimed, so no other run is at work in it. */
  #sweep(): void {
    const names = [...this.directory.entries()].map(({ name }) => name).filter(isUnfinishedPages);
    for (const name of names) unlinkSync(this.directory.place(name));
  }
}

function flush(fd: number): void {
  try {
    fsyncSync(fd);
  } catch (error) {
    // A file system without fsync(2) has nothing to flush.
    if (!['EINVAL', 'ENOSYS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

const movedOn = 'was changed meanwhile, and stays';

function isMovedOn(error: unknown): boolean {
  return error instanceof ImageError && error.why === movedOn;
}

function identityOf(fd: number, name: string): Made {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return { name, dev, ino };
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

/** Leaves out whole blocks of zeros; the end of the file is set later. */
function writeWithHoles(fd: number, bytes: Buffer, position: number): void {
  const isHole = (from: number): boolean =>
    from + holeBytes <= bytes.length && zeros.equals(bytes.subarray(from, from + holeBytes));
  let from = 0;
  for (let at = 0; at < bytes.length; at += holeBytes) {
    if (!isHole(at)) continue;
    if (at > from) writeAll(fd, bytes.subarray(from, at), position + from);
    from = at + holeBytes;
  }
  if (from < bytes.length) writeAll(fd, bytes.subarray(from), position + from);
}
