/**
 * The reader of images, fed with directories that were changed at random: it must show, verify and decode each of them, or name the
 * file and the place, without a crash and within its memory.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asJson, tableOf } from '../../src/cli/images/show-words.ts';
import { verdictAsJson, verdictInWords } from '../../src/cli/images/verify-words.ts';
import { contentsOf } from '../../src/images/contents.ts';
import { decode } from '../../src/images/decode.ts';
import { ImageDirectory } from '../../src/images/image-directory.ts';
import { ImageError } from '../../src/images/image-error.ts';
import { ImageFile } from '../../src/images/image-file.ts';
import type { Machine } from '../../src/images/machine.ts';
import { readManifest } from '../../src/images/manifest/read-manifest.ts';
import { Reading } from '../../src/images/reading.ts';
import { verify } from '../../src/images/verify.ts';
import { random } from '../support/random.ts';
import { mutateBytes, mutateRecord, type Next, pick } from './mutate.ts';

export interface Result {
  readonly mutations: number;
  /** Directories with a fault or finding, and decoded images that had none. */
  readonly faulty: number;
  readonly decoded: number;
  readonly peakRssKiB: number;
  /** Processor time, which a busy machine does not change much. */
  readonly slowestMs: number;
  /** The number of that mutation. */
  readonly slowest: number;
}

/** Larger files are pages, which are read by no decoder; mutations of them are of their size. */
const mostBytes = 256 * 1024;

const quiet: Machine = { processOf: () => undefined, userName: (uid) => `${uid}` };
const circumstances = { uid: 1000, gid: 1000, groups: [1000] };

/** @param seeds directories of images. @throws with the number of the mutation, which the seed repeats. */
export function fuzz(
  seeds: readonly string[],
  count: number,
  seed: number,
  told: (done: number) => void,
): Result {
  const next = random(seed);
  const place = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'fuzz-'));
  const result = { mutations: 0, faulty: 0, decoded: 0, peakRssKiB: 0, slowestMs: 0, slowest: 0 };
  try {
    const fifo = join(place, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const bases = seeds.map((from, index) => new Base(from, join(place, `${index}`), fifo));
    for (; result.mutations < count; result.mutations++) {
      const base = pick(bases, next);
      const name = base.spoil(next);
      const began = process.cpuUsage();
      try {
        const { faulty, decoded } = exercise(base.path, name, next() < 0.02);
        if (faulty) result.faulty += 1;
        if (decoded) result.decoded += 1;
      } catch (error) {
        throw new Error(`mutation ${result.mutations} of seed ${seed}, ${name}`, { cause: error });
      }
      const { user, system } = process.cpuUsage(began);
      const ms = Math.round((user + system) / 1000);
      if (ms > result.slowestMs) Object.assign(result, { slowestMs: ms, slowest: result.mutations });
      base.mend();
      if (result.mutations % 1000 === 0) told(result.mutations);
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
  return { ...result, peakRssKiB: process.resourceUsage().maxRSS };
}

/** A copy of a directory of which some files are changed, and changed back. */
class Base {
  readonly path: string;
  readonly #from: string;
  readonly #fifo: string;
  readonly #names: readonly string[];
  readonly #spoilt = new Set<string>();

  /** @param fifo that takes the place of an image: another name of it costs no process of mkfifo(1). */
  constructor(from: string, path: string, fifo: string) {
    this.path = path;
    this.#from = from;
    this.#fifo = fifo;
    mkdirSync(path);
    this.#names = readdirSync(from).filter((name) => statSync(join(from, name)).isFile());
    for (const name of this.#names) this.#copy(name);
  }

  /** @returns the name of a file that was changed. */
  spoil(next: Next): string {
    let name = '';
    for (let times = 1 + Math.floor(next() ** 2 * 4); times > 0; times--) {
      name = pick(this.#names, next);
      this.#spoilt.add(name);
      this.#change(name, next);
    }
    return name;
  }

  mend(): void {
    for (const name of this.#spoilt) {
      rmSync(join(this.path, name), { recursive: true, force: true });
      if (name !== 'parent') this.#copy(name);
    }
    this.#spoilt.clear();
  }

  #copy(name: string): void {
    const [from, to] = [join(this.#from, name), join(this.path, name)];
    const { size } = statSync(from);
    if (size <= mostBytes) copyFileSync(from, to);
    else {
      writeFileSync(to, '');
      truncateSync(to, size);
    }
  }

  #change(name: string, next: Next): void {
    const path = join(this.path, name);
    // An earlier change of the same file may have put something else there.
    const stat = lstatSync(path, { throwIfNoEntry: false });
    const small = stat?.isFile() && stat.size <= mostBytes;
    const choice = next();
    if (choice < 0.9 && small) {
      const bytes = readFileSync(path);
      writeFileSync(path, choice < 0.6 ? mutateRecord(bytes, next) : mutateBytes(bytes, next));
      return;
    }
    rmSync(path, { recursive: true, force: true });
    switch (Math.floor(next() * 7)) {
      case 0:
        return;
      case 1:
        symlinkSync(pick(['/dev/zero', 'nowhere', '.', '/proc/self/mem'], next), path);
        return;
      case 2:
        mkdirSync(path);
        return;
      case 3:
        linkSync(this.#fifo, path);
        return;
      case 4: {
        // Another image in its place.
        const other = pick(this.#names, next);
        if (statSync(join(this.#from, other)).size <= mostBytes) copyFileSync(join(this.#from, other), path);
        return;
      }
      case 5:
        this.#spoilt.add('parent');
        rmSync(join(this.path, 'parent'), { force: true });
        symlinkSync(pick(['.', '..', '../0', 'nowhere', '/dev'], next), join(this.path, 'parent'));
        return;
      default:
        this.#copy(name);
        truncateSync(path, Math.floor(next() * 2 ** 40));
    }
  }
}

function exercise(path: string, name: string, withMachine: boolean): { faulty: boolean; decoded: boolean } {
  const directory = new ImageDirectory(path);
  try {
    const contents = contentsOf(directory);
    const manifest = new Reading(directory).guarded(() => readManifest(directory));
    tableOf(contents, manifest, (uid) => `${uid}`);
    JSON.stringify(asJson(contents, manifest));
    const verification = verify(directory, circumstances, withMachine ? quiet : undefined);
    verdictInWords(verification);
    JSON.stringify(verdictAsJson(verification));
    return {
      faulty: contents.faults.length > 0 || verification.findings.items.length > 0,
      decoded: decodes(directory, name),
    };
  } finally {
    directory.close();
  }
}

function decodes(directory: ImageDirectory, name: string): boolean {
  let image: ImageFile | undefined;
  let text = '';
  try {
    image = ImageFile.open(directory, name);
    if (!image) return false;
    decode(image, (piece) => {
      if (text.length < 1 << 22) text += piece;
    });
  } catch (error) {
    if (error instanceof ImageError) return false;
    throw error;
  } finally {
    image?.close();
  }
  if (text.length < 1 << 22) assert.ok(JSON.parse(text).entries);
  return true;
}
