/** The state of a dumped tree that its restore must bring back: descriptors, contents of memory files, and memory by samples. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { Memory } from '../../../src/images/memory.ts';
import { Reading } from '../../../src/images/reading.ts';
import { spaceFacts } from '../../../src/images/task-images.ts';
import { isAlive, openFds } from '../../system/support/proc.ts';
import type { KnownByte } from './damages.ts';

export type Descriptors = ReadonlyMap<number, ReadonlySet<string>>;

/** Each with the name of its file, as far as a restore keeps it. */
function descriptorsOf(pid: number): Set<string> {
  try {
    return new Set(
      openFds(pid).map((fd) => {
        const name = readlinkSync(`/proc/${pid}/fd/${fd}`);
        return `${fd} ${name.endsWith(' (deleted)') ? 'deleted' : name.replace(/\[\d+\]/, '')}`;
      }),
    );
  } catch {
    return new Set();
  }
}

/** The state that is the same at each of several looks: programs open other descriptors for a moment. */
export interface Steady {
  readonly descriptors: Descriptors;
  /** Digests of the contents of memory files (memfd_create(2)), by the path of their descriptor below /proc. */
  readonly memfds: ReadonlyMap<string, string>;
}

const looks = 20;

export async function steadyState(pids: readonly number[]): Promise<Steady> {
  const descriptors = new Map(pids.map((pid) => [pid, descriptorsOf(pid)]));
  const memfds = new Map(pids.flatMap(memfdsOf));
  for (let look = 1; look < looks; look++) {
    // Servers keep files open for some seconds. Looks in step with a program would see the same moment of its work each time.
    await new Promise((resolve) => setTimeout(resolve, 200 + 200 * Math.random()));
    for (const [pid, before] of descriptors) {
      const now = descriptorsOf(pid);
      for (const fd of before) if (!now.has(fd)) before.delete(fd);
    }
    for (const [path, digest] of memfds) if (digestOf(path) !== digest) memfds.delete(path);
  }
  return { descriptors, memfds };
}

function memfdsOf(pid: number): [path: string, digest: string][] {
  return openFds(pid).flatMap((fd) => {
    const path = `/proc/${pid}/fd/${fd}`;
    const digest = digestOf(path);
    return digest === undefined ? [] : [[path, digest]];
  });
}

/** @returns undefined if that is no descriptor of a memory file. */
function digestOf(path: string): string | undefined {
  try {
    if (!readlinkSync(path).startsWith('/memfd:')) return undefined;
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return undefined;
  }
}

/** Those that were still open at the dump: a connection of a client may have ended meanwhile. */
export function dumpedOf(steady: Descriptors, images: string): Descriptors {
  const directory = new ImageDirectory(images);
  try {
    return new Map(
      [...steady].map(([pid, fds]) => {
        const dumped = numbersIn(new Reading(directory), pid);
        return [pid, new Set([...fds].filter((fd) => dumped.has(Number(fd.split(' ')[0]))))];
      }),
    );
  } finally {
    directory.close();
  }
}

function numbersIn(reading: Reading, pid: number): Set<number> {
  const numbers = new Set<number>();
  reading.each(`ids-${pid}.img`, 'IDS', ({ message }) => {
    reading.apart().each(`fdinfo-${message.number('files_id')}.img`, 'FDINFO', (descriptor) => {
      numbers.add(descriptor.message.number('fd')!);
    });
  });
  return numbers;
}

/** Waits for descriptors that a restored tree must have: those that were seen once are there, also if the program replaces them. */
export class Awaited {
  readonly #left: ReadonlyMap<number, Set<string>>;
  readonly #leader: number;

  constructor(wanted: Descriptors, leader: number) {
    this.#left = new Map([...wanted].map(([pid, fds]) => [pid, new Set(fds)]));
    this.#leader = leader;
  }

  /** Looks at the tree. A child may have ended by then. */
  areThere(): boolean {
    let there = true;
    for (const [pid, fds] of this.#left) {
      if (pid !== this.#leader && !isAlive(pid)) continue;
      for (const fd of descriptorsOf(pid)) fds.delete(fd);
      there &&= fds.size === 0;
    }
    return there;
  }

  get words(): string {
    const names = [...this.#left].flatMap(([pid, fds]) => [...fds].map((fd) => `${fd} of ${pid}`));
    return `it has lost descriptors: ${names.slice(0, 3).join(', ')}`;
  }
}

/** @returns words about a memory file that is not as it was before the dump. */
export function lostMemfd(memfds: Steady['memfds'], leader: number): string | undefined {
  for (const [path, digest] of memfds) {
    const pid = Number(path.split('/')[2]);
    if ((pid === leader || isAlive(pid)) && digestOf(path) !== digest) return `${path} has other contents`;
  }
  return undefined;
}

export interface Sample {
  readonly pid: number;
  readonly address: number;
  readonly bytes: Buffer;
}

export interface DumpedMemory {
  /** Samples of each kind of memory; at least one of a kind is the same after a restore. */
  readonly kinds: readonly (readonly Sample[])[];
  readonly known: { readonly byte: KnownByte; readonly sample: Sample } | undefined;
}

const sampleBytes = 64;
const mostSamples = 200;

export function memoryIn(images: string, leader: number): DumpedMemory {
  const directory = new ImageDirectory(images);
  try {
    const kinds: Sample[][] = [];
    let known: DumpedMemory['known'];
    for (const name of readdirSync(images)) {
      const pid = Number(/^mm-(\d+)\.img$/.exec(name)?.[1] ?? 0);
      if (pid === 0) continue;
      kinds.push(samplesOf(directory, `pagemap-${pid}.img`, (address) => ({ pid, address })));
      new Reading(directory).each(name, 'MM', ({ message }) => {
        if (pid === leader) known = knownAt(directory, pid, spaceFacts(message).argumentsFrom + 1);
        for (const vma of message.messages('vmas')) {
          const [start, end, shift] = [vma.number('start')!, vma.number('end')!, vma.number('pgoff')!];
          const inside = (at: number) => {
            const address = start + at - shift;
            return address >= start && address < end ? { pid, address } : undefined;
          };
          kinds.push(samplesOf(directory, `pagemap-shmem-${vma.number('shmid')}.img`, inside));
        }
      });
    }
    return { kinds: kinds.filter((samples) => samples.length > 0), known };
  } finally {
    directory.close();
  }
}

function knownAt(directory: ImageDirectory, pid: number, wanted: number): DumpedMemory['known'] {
  const memory = new Memory(directory, `pagemap-${pid}.img`, 4096);
  try {
    let index = 0;
    let pages = '';
    new Reading(directory).each(`pagemap-${pid}.img`, 'PAGEMAP', ({ message }) => {
      if (index++ === 0) pages = `pages-${message.number('pages_id')}.img`;
    });
    for (const { address, pages: count, source, offset } of memory.extents()) {
      const from = wanted - address;
      if (!source || from < 0 || from >= count * 4096) continue;
      const bytes = Buffer.alloc(1);
      source.read(bytes, offset + from);
      return { byte: { file: pages, offset: offset + from }, sample: { pid, address: wanted, bytes } };
    }
    return undefined;
  } finally {
    memory.close();
  }
}

function samplesOf(
  directory: ImageDirectory,
  pagemap: string,
  placeOf: (address: number) => { pid: number; address: number } | undefined,
): Sample[] {
  const samples: Sample[] = [];
  const memory = new Memory(directory, pagemap, 4096);
  try {
    for (const { address, pages, source, offset } of memory.extents()) {
      for (let page = 0; source && page < pages && samples.length < mostSamples; page++) {
        const bytes = Buffer.alloc(sampleBytes);
        source.read(bytes, offset + page * 4096);
        const place = placeOf(address + page * 4096);
        if (place && bytes.some((byte) => byte !== 0)) samples.push({ ...place, bytes });
      }
    }
    return samples;
  } finally {
    memory.close();
  }
}

function isSame({ pid, address, bytes }: Sample): boolean {
  try {
    const memory = openSync(`/proc/${pid}/mem`, 'r');
    try {
      const now = Buffer.alloc(bytes.length);
      readSync(memory, now, 0, now.length, address);
      return now.equals(bytes);
    } finally {
      closeSync(memory);
    }
  } catch {
    return false;
  }
}

/** @returns words about memory that is not as it was dumped. */
export function lostMemory({ kinds, known }: DumpedMemory, leader: number): string | undefined {
  if (known && !isSame(known.sample)) return 'a byte of its memory is another';
  // A child may have ended by then.
  const there = kinds.filter((samples) => samples.some(({ pid }) => pid === leader || isAlive(pid)));
  return there.every((samples) => samples.some(isSame)) ? undefined : 'its memory is another';
}
