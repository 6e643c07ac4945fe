/** The contents of a directory of images, as `criuctl images show` tells them. */
import { eachParent } from './chain.ts';
import { compressedSpace } from './compressed.ts';
import type { CompressedSpace } from './compressed-space.ts';
import type { Fault } from './fault.ts';
import type { ImageDirectory } from './image-directory.ts';
import { type OpenFiles, readOpenFiles } from './open-files.ts';
import { Reading } from './reading.ts';
import { type Space, sizesIn } from './sizes.ts';
import {
  type CoreFacts,
  coreFacts,
  isOver,
  readPagemap,
  readTree,
  type SpaceFacts,
  spaceFacts,
} from './task-images.ts';
import type { TreeTask } from './tree.ts';

export interface TaskContents extends TreeTask {
  readonly name: string | undefined;
  readonly state: string | undefined;
  readonly uid: number | undefined;
  readonly executable: string | undefined;
  /** As far as they lie in the images of this directory; otherwise empty. */
  readonly commandLine: readonly string[];
  /** Bytes. */
  readonly memory: {
    readonly mapped: number;
    readonly here: number;
    readonly inParents: number;
    readonly lazy: number;
  };
  readonly descriptors: number | undefined;
}

export interface Contents {
  readonly directory: string;
  /** A pre-dump has memory only; a directory without an inventory is no finished dump. */
  readonly is: 'dump' | 'pre-dump' | 'incomplete';
  /** The time of the inventory, which CRIU writes last, in ISO 8601. */
  readonly written: string | undefined;
  readonly imageVersion: number | undefined;
  /** As the log beside the images says: images tell neither. */
  readonly criu: string | undefined;
  readonly kernel: string | undefined;
  readonly architecture: string | undefined;
  readonly tasks: readonly TaskContents[];
  /** The tree has more tasks. */
  readonly cut: boolean;
  readonly sharedMemory: number;
  readonly files: OpenFiles;
  /** Options of a restore. */
  readonly needs: readonly string[];
  readonly space: Space;
  /** Images of pages that are compressed: of them command lines are not read. */
  readonly compressed: CompressedSpace;
  /** The directories of the dumps before, the nearest first. */
  readonly parents: readonly Space[];
  readonly faults: readonly Fault[];
}

const mostArguments = 4096;
/** The command lines of 20,000 tasks take a tenth of it. Tasks behind it are shown without theirs. */
const mostWords = 1 << 21;

/** @internal */
export function contentsOf(directory: ImageDirectory): Contents {
  const reading = new Reading(directory);
  const inventory = readInventory(reading);
  const { tasks, cut } = readTree(reading);
  const shown = new Tasks(reading);
  for (const task of tasks) shown.read(task);
  const executables = shown.executables();
  const files = readOpenFiles(reading, executables);
  shown.name(executables);
  const { space, sharedMemory } = spaceOf(reading);
  const compressed = compressedSpace(reading);
  const parents: Space[] = [];
  eachParent(reading, (parent) => parents.push(sizesIn(parent)));
  return {
    directory: directory.path,
    is: inventory === undefined ? 'incomplete' : tasks.length === 0 ? 'pre-dump' : 'dump',
    written: inventory?.written,
    imageVersion: inventory?.version,
    ...readLog(reading),
    architecture: shown.architecture,
    tasks: shown.drafts,
    cut,
    sharedMemory,
    files,
    needs: needsOf(files, tasks),
    space,
    compressed,
    parents,
    faults: reading.faults,
  };
}

function readInventory(reading: Reading): { version: number; written: string } | undefined {
  let found: { version: number; written: string } | undefined;
  reading.each('inventory.img', 'INVENTORY', ({ message }, _index, { written }) => {
    found = { version: message.number('img_version')!, written: written.toISOString() };
  });
  return found;
}

/** Only the image of all open files tells the path of an executable. */
type Draft = TaskContents & { executable: string | undefined };

/** Reads tasks one after the other, and keeps little of each: there may be 20,000. */
class Tasks {
  readonly #reading: Reading;
  readonly drafts: Draft[] = [];
  /** The numbers of the tasks' executables among the open files. */
  readonly #executables: (number | undefined)[] = [];
  architecture: string | undefined;
  /** Bytes of command lines that are still kept. */
  #wordsLeft = mostWords;

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  /** A place for the path of each executable. */
  executables(): Map<number, string> {
    return new Map(this.#executables.flatMap((id) => (id === undefined ? [] : [[id, '']])));
  }

  name(executables: ReadonlyMap<number, string>): void {
    for (const [index, id] of this.#executables.entries())
      if (id !== undefined) this.drafts[index]!.executable = executables.get(id) || undefined;
  }

  read(task: TreeTask): void {
    const reading = this.#reading;
    const { pid } = task;
    let core: CoreFacts | undefined;
    reading.each(`core-${pid}.img`, 'CORE', ({ message }) => {
      core = coreFacts(message);
    });
    const memory = { mapped: 0, here: 0, inParents: 0, lazy: 0 };
    const keep = (space?: SpaceFacts, commandLine: readonly string[] = [], descriptors?: number): void => {
      const { name, state, uid } = core ?? { name: undefined, state: undefined, uid: undefined };
      const { ppid, pgid, sid, threads } = task;
      // A literal without a spread makes objects of half the size.
      this.drafts.push({
        pid,
        ppid,
        pgid,
        sid,
        threads,
        name,
        state,
        uid,
        executable: undefined,
        commandLine,
        memory,
        descriptors,
      });
      this.#executables.push(space?.executable);
      this.architecture ??= core?.architecture;
    };
    if (isOver(core?.state)) {
      keep();
      return;
    }
    let space: SpaceFacts | undefined;
    reading.each(`mm-${pid}.img`, 'MM', ({ message }) => {
      space = spaceFacts(message);
    });
    const descriptors = this.#descriptorsOf(pid);
    const pageSize = space?.pageSize ?? 4096;
    let argumentsAt: number | undefined;
    const from = space?.argumentsFrom ?? 0;
    const pages = readPagemap(reading, `pagemap-${pid}.img`, ({ address, pages: count, place }, before) => {
      if (place === 'here' && from >= address && from < address + count * pageSize)
        argumentsAt = before * pageSize + (from - address);
    });
    if (typeof pages === 'string') {
      keep(space, [], descriptors);
      return;
    }
    memory.mapped = space?.mappedBytes ?? 0;
    memory.here = pages.here * pageSize;
    memory.inParents = pages.inParent * pageSize;
    memory.lazy = pages.lazy * pageSize;
    const words =
      space && argumentsAt !== undefined
        ? this.#arguments(pages.pagesId, argumentsAt, space.argumentsTo - from)
        : [];
    keep(space, words, descriptors);
  }

  #descriptorsOf(pid: number): number | undefined {
    let filesId = pid;
    this.#reading.each(`ids-${pid}.img`, 'IDS', ({ message }) => {
      filesId = message.number('files_id')!;
    });
    let count = 0;
    const outcome = this.#reading.each(`fdinfo-${filesId}.img`, 'FDINFO', () => {
      count += 1;
    });
    return outcome === 'read' ? count : undefined;
  }

  /** The words lie in the pages one behind the other, each with a zero byte at its end. */
  #arguments(pagesId: number, offset: number, bytes: number): string[] {
    const wanted = Math.min(Math.max(bytes, 0), mostArguments, this.#wordsLeft);
    const text = this.#reading.guarded(() =>
      this.#reading.directory.readPart(`pages-${pagesId}.img`, offset, wanted),
    );
    if (!text || text.length === 0) return [];
    this.#wordsLeft -= text.length;
    return text.toString('utf8').replace(/\0$/, '').split('\0');
  }
}

const logNames = ['dump.log', 'pre-dump.log'] as const;
const logBytes = 16 * 1024;

/** CRIU says its version and the kernel's at the beginning of its log, if it says so much. */
function readLog(reading: Reading): { criu: string | undefined; kernel: string | undefined } {
  for (const name of logNames) {
    const text = reading.guarded(() => reading.directory.readPart(name, 0, logBytes))?.toString('utf8') ?? '';
    const criu = /\bVersion: (\S+)/.exec(text)?.[1];
    const kernel = /\bRunning on \S+ (Linux \S+)/.exec(text)?.[1];
    if (criu !== undefined || kernel !== undefined) return { criu, kernel };
  }
  return { criu: undefined, kernel: undefined };
}

function needsOf(files: OpenFiles, tasks: readonly TreeTask[]): string[] {
  const sessions = new Set(tasks.map(({ pid }) => pid));
  return [
    ...(files.terminals.items.some(({ session }) => session !== 0 && !sessions.has(session))
      ? ['--shell-job']
      : []),
    ...(files.internet.items.some(({ protocol, state }) => protocol === 'TCP' && state === 'connected')
      ? ['--tcp-established']
      : []),
    ...(files.unix.items.some(({ external }) => external) ? ['--ext-unix-sk'] : []),
    ...(files.locks > 0 ? ['--file-locks'] : []),
  ];
}

/** Sizes of all files, and the memory in images of shared memory. */
function spaceOf(reading: Reading): { space: Space; sharedMemory: number } {
  const { directory } = reading;
  let sharedMemory = 0;
  const space = sizesIn(directory, (name) => {
    if (!/^pagemap-shmem-\d+\.img$/.test(name)) return;
    const pages = readPagemap(reading, name);
    if (typeof pages !== 'string') sharedMemory += pages.here * 4096;
  });
  return { space, sharedMemory };
}
