/** What has changed between two dumps: the tree, memory by mapping, open files, sockets. */
import { List, type Listed } from './bounded.ts';
import { compareMemory, noPages, type PageCounts } from './compare-memory.ts';
import type { Contents, TaskContents } from './contents.ts';
import { contentsOf } from './contents.ts';
import type { Fault } from './fault.ts';
import type { ImageDirectory } from './image-directory.ts';
import {
  type AddressSpace,
  type Mapping,
  nameOf,
  ofFile,
  readAddressSpace,
  sharedAnonymous,
} from './mappings.ts';
import { Memory } from './memory.ts';
import { readOpenFiles, type ShownFile } from './open-files.ts';
import { Reading } from './reading.ts';

export interface MappingDifference {
  /** Addresses, hexadecimal. */
  readonly from: string;
  readonly to: string;
  readonly name: string;
  readonly is: 'in both' | 'added' | 'removed' | 'resized';
  /** Bytes of memory that is in the images. */
  readonly bytes: PageCounts;
}

export interface TaskDifference {
  readonly pid: number;
  readonly program: string;
  readonly is: 'in both' | 'added' | 'removed';
  /** For example "3 threads instead of 2"; empty for a task that is the same but for its memory. */
  readonly changes: readonly string[];
  /** Bytes, of all mappings. */
  readonly memory: PageCounts;
  /** Those that differ. */
  readonly mappings: Listed<MappingDifference>;
}

export interface Difference {
  readonly first: string;
  readonly second: string;
  readonly tasks: readonly TaskDifference[];
  readonly files: Listed<{ readonly path: string; readonly is: string }>;
  readonly sockets: Listed<{ readonly name: string; readonly is: 'added' | 'removed' }>;
  /** Images that cannot be read. */
  readonly faults: readonly Fault[];
}

const mostMappings = 1000;
const mostThings = 1000;

/**
 * @throws Error of node:fs
 * @internal
 */
export function compare(first: ImageDirectory, second: ImageDirectory): Difference {
  const [a, b] = [new Dump(first), new Dump(second)];
  const pids = new Set([...a.tasks.keys(), ...b.tasks.keys()]);
  const tasks = [...pids].map((pid) => compareTask(a, b, pid));
  return {
    first: first.path,
    second: second.path,
    tasks,
    files: compareFiles(a.contents.files.regular.items, b.contents.files.regular.items),
    sockets: compareSockets(a.contents, b.contents),
    faults: [a, b].flatMap((dump) => dump.faults()),
  };
}

class Dump {
  readonly directory: ImageDirectory;
  readonly reading: Reading;
  readonly contents: Contents;
  readonly tasks: ReadonlyMap<number, TaskContents>;
  #paths: Map<number, string> | undefined;

  constructor(directory: ImageDirectory) {
    this.directory = directory;
    this.reading = new Reading(directory);
    this.contents = contentsOf(directory);
    this.tasks = new Map(this.contents.tasks.map((task) => [task.pid, task]));
  }

  /** Paths of the files of these mappings. */
  paths(mappings: readonly Mapping[]): ReadonlyMap<number, string> {
    const known = this.#paths ?? new Map<number, string>();
    const wanted = mappings.filter(({ status, id }) => status & ofFile && !known.has(id));
    this.#paths = known;
    if (wanted.length === 0) return known;
    for (const { id } of wanted) known.set(id, '');
    readOpenFiles(this.reading.apart(), known);
    return known;
  }

  /** Each once, with its directory: two dumps have images of the same names. */
  faults(): Fault[] {
    const all = [...this.contents.faults, ...this.reading.faults];
    const known = new Map(all.map((fault) => [`${fault.file} ${fault.offset} ${fault.why}`, fault]));
    return [...known.values()].map((fault) => ({ ...fault, file: `${this.directory.path}/${fault.file}` }));
  }
}

function compareTask(a: Dump, b: Dump, pid: number): TaskDifference {
  const [before, after] = [a.tasks.get(pid), b.tasks.get(pid)];
  const spaces = [
    before && readAddressSpace(a.reading, pid),
    after && readAddressSpace(b.reading, pid),
  ] as const;
  const { memory, mappings } = compareSpaces(a, b, pid, spaces);
  return {
    pid,
    program: programOf((after ?? before)!),
    is: before && after ? 'in both' : after ? 'added' : 'removed',
    changes: before && after ? changesOf(before, after) : [],
    memory,
    mappings,
  };
}

function programOf({ commandLine, executable, name }: TaskContents): string {
  return commandLine.length > 0 ? commandLine.join(' ') : (executable ?? name ?? '?');
}

/**
 * In words. Pure.
 * @internal
 */
export function changesOf(before: TaskContents, after: TaskContents): string[] {
  const said: string[] = [];
  const tell = (noun: string, from: string | number | undefined, to: string | number | undefined): void => {
    if (from !== to && from !== undefined && to !== undefined) said.push(`${noun} ${to} instead of ${from}`);
  };
  tell('parent', before.ppid, after.ppid);
  tell('process group', before.pgid, after.pgid);
  tell('session', before.sid, after.sid);
  tell('state', before.state, after.state);
  tell('uid', before.uid, after.uid);
  tell('program', before.executable, after.executable);
  tell('name', before.name, after.name);
  // The words of an incremental dump may be in its parents.
  if (before.commandLine.length > 0 && after.commandLine.length > 0)
    tell('command line', before.commandLine.join(' '), after.commandLine.join(' '));
  tell('number of threads', before.threads.length, after.threads.length);
  tell('number of descriptors', before.descriptors, after.descriptors);
  return said;
}

function compareSpaces(
  a: Dump,
  b: Dump,
  pid: number,
  [before, after]: readonly [AddressSpace | undefined, AddressSpace | undefined],
): { readonly memory: PageCounts; readonly mappings: Listed<MappingDifference> } {
  const pageSize = (after ?? before)?.pageSize ?? 4096;
  const memory = noPages();
  const mappings = new List<MappingDifference>(mostMappings);
  const rows = rowsOf(before?.mappings ?? [], after?.mappings ?? []);
  const spread = new Spread(rows, pageSize);
  const image = `pagemap-${pid}.img`;
  compareImages([a, before && image], [b, after && image], pageSize, (...page) => spread.add(...page));
  for (const row of rows) {
    const { shared } = row;
    if (!shared) continue;
    const names = [shared.first, shared.second].map((id) => (id ? `pagemap-shmem-${id}.img` : undefined));
    compareImages([a, names[0]], [b, names[1]], pageSize, (_, pages, is) => {
      row.counts[is] += pages * pageSize;
    });
  }
  const paths = { first: a.paths(before?.mappings ?? []), second: b.paths(after?.mappings ?? []) };
  for (const { mapping, is, counts } of rows) {
    for (const each of Object.keys(memory) as (keyof PageCounts)[]) memory[each] += counts[each];
    const differs = is !== 'in both' || counts.changed + counts.added + counts.removed + counts.unknown > 0;
    if (!differs) continue;
    mappings.add({
      from: mapping.from.toString(16),
      to: mapping.to.toString(16),
      name: nameOf(mapping, is === 'removed' ? paths.first : paths.second),
      is,
      bytes: counts,
    });
  }
  return { memory, mappings };
}

interface Row {
  readonly mapping: Mapping;
  readonly is: MappingDifference['is'];
  /** Bytes. */
  readonly counts: PageCounts;
  /** Numbers of shared memory. */
  readonly shared: { readonly first: number | undefined; readonly second: number | undefined } | undefined;
}

/** A row for each mapping of the second dump, and for those that the first has alone; in the order of addresses. */
function rowsOf(before: readonly Mapping[], after: readonly Mapping[]): Row[] {
  const earlier = new Map(before.map((mapping) => [mapping.from, mapping]));
  const rows = after.map((mapping): Row => {
    const same = earlier.get(mapping.from);
    earlier.delete(mapping.from);
    return {
      mapping,
      is: !same ? 'added' : same.to === mapping.to ? 'in both' : 'resized',
      counts: noPages(),
      shared: sharedBy(same, mapping),
    };
  });
  for (const mapping of earlier.values())
    rows.push({ mapping, is: 'removed', counts: noPages(), shared: sharedBy(mapping, undefined) });
  return rows.sort((a, b) => a.mapping.from - b.mapping.from);
}

function sharedBy(first: Mapping | undefined, second: Mapping | undefined): Row['shared'] {
  const idOf = (mapping: Mapping | undefined): number | undefined =>
    mapping && mapping.status & sharedAnonymous ? mapping.id : undefined;
  const shared = { first: idOf(first), second: idOf(second) };
  return shared.first === undefined && shared.second === undefined ? undefined : shared;
}

/** Spreads pages, which come in the order of addresses, over mappings in the same order. */
class Spread {
  readonly #rows: readonly Row[];
  readonly #pageSize: number;
  #at = 0;

  constructor(rows: readonly Row[], pageSize: number) {
    this.#rows = rows;
    this.#pageSize = pageSize;
  }

  add(address: number, pages: number, is: keyof PageCounts): void {
    const end = address + pages * this.#pageSize;
    for (let from = address; from < end; ) {
      while (this.#rows[this.#at] && this.#rows[this.#at]!.mapping.to <= from) this.#at += 1;
      const row = this.#rows[this.#at];
      // Pages outside of all mappings are of no task that could run: show and verify tell such images.
      if (!row) return;
      const to = Math.min(end, row.mapping.from > from ? row.mapping.from : row.mapping.to);
      if (row.mapping.from <= from) row.counts[is] += to - from;
      from = to;
    }
  }
}

/** The faults of a pagemap, or of pages, are told once; the pages behind are not counted. */
function compareImages(
  [a, first]: readonly [Dump, string | undefined],
  [b, second]: readonly [Dump, string | undefined],
  pageSize: number,
  visit: (address: number, pages: number, is: keyof PageCounts) => void,
): void {
  b.reading.guarded(() => {
    const memories: Memory[] = [];
    const open = (dump: Dump, name: string | undefined): Memory | undefined => {
      if (name === undefined) return undefined;
      const memory = new Memory(dump.directory, name, pageSize);
      memories.push(memory);
      return memory;
    };
    try {
      compareMemory(open(a, first), open(b, second), pageSize, visit);
    } finally {
      for (const memory of memories) memory.close();
    }
  });
}

/**
 * By path: files of the same path are told apart by their order. Pure.
 * @internal
 */
export function compareFiles(
  before: readonly ShownFile[],
  after: readonly ShownFile[],
): Listed<{ readonly path: string; readonly is: string }> {
  const list = new List<{ path: string; is: string }>(mostThings);
  const earlier = new Map<string, ShownFile[]>();
  for (const file of before) earlier.set(file.path, [...(earlier.get(file.path) ?? []), file]);
  for (const file of after) {
    const same = earlier.get(file.path)?.shift();
    if (!same) list.add({ path: file.path, is: 'added' });
    else if (same.size !== file.size || same.position !== file.position)
      list.add({ path: file.path, is: movedOf(same, file) });
  }
  for (const files of earlier.values()) for (const { path } of files) list.add({ path, is: 'removed' });
  return list;
}

function movedOf(before: ShownFile, after: ShownFile): string {
  return [
    ...(before.size === after.size ? [] : [`${after.size ?? '?'} bytes instead of ${before.size ?? '?'}`]),
    ...(before.position === after.position
      ? []
      : [`at byte ${after.position} instead of ${before.position}`]),
  ].join(', ');
}

function compareSockets(
  before: Contents,
  after: Contents,
): Listed<{ readonly name: string; readonly is: 'added' | 'removed' }> {
  const list = new List<{ name: string; is: 'added' | 'removed' }>(mostThings);
  const earlier = countsOf(socketsOf(before));
  const later = countsOf(socketsOf(after));
  for (const name of new Set([...earlier.keys(), ...later.keys()])) {
    const more = (later.get(name) ?? 0) - (earlier.get(name) ?? 0);
    for (let left = Math.abs(more); left > 0; left--) list.add({ name, is: more > 0 ? 'added' : 'removed' });
  }
  return list;
}

/** In words. Sockets of a pair have no name, and are one as good as the other. */
function socketsOf({ files: { internet, unix } }: Contents): string[] {
  return [
    ...internet.items.map(({ protocol, state, local, remote }) =>
      state === 'connected' ? `${protocol} ${local} to ${remote}` : `${protocol} ${local} ${state}`,
    ),
    ...unix.items.map(({ name }) => (name === '' ? 'Unix socket without a name' : `Unix socket ${name}`)),
  ];
}

function countsOf(names: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
