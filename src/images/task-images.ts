/** The facts that show and verify need of the images of a task. */
import { first } from './bounded.ts';
import type { FieldReader, Message } from './message.ts';
import type { Reading } from './reading.ts';
import type { Tree, TreeTask } from './tree.ts';

/** A dump of more tasks is shown and verified in part. */
export const mostTasks = 20_000;
const mostThreads = 100_000;

export function readTree(reading: Reading): Tree {
  const tasks: TreeTask[] = [];
  let threads = 0;
  let cut = false;
  reading.each('pstree.img', 'PSTREE', ({ message }) => {
    const task: TreeTask = {
      pid: message.number('pid')!,
      ppid: message.number('ppid')!,
      pgid: message.number('pgid')!,
      sid: message.number('sid')!,
      threads: first(message.numbers('threads'), mostThreads - threads),
    };
    threads += task.threads.length;
    cut = tasks.length >= mostTasks || threads >= mostThreads;
    if (!cut) tasks.push(task);
    return cut ? 'enough' : undefined;
  });
  return { tasks, cut };
}

/** TASK_ALIVE and the others of CRIU's image.h. */
const states: Readonly<Record<number, string>> = {
  1: 'running',
  2: 'dead',
  3: 'stopped',
  4: 'helper',
  5: 'thread',
  6: 'zombie',
};

/** These states have no memory and no descriptors. */
export function isOver(state: string | undefined): boolean {
  return state === 'dead' || state === 'zombie' || state === 'helper';
}

export interface CoreFacts {
  readonly architecture: string;
  readonly name: string | undefined;
  readonly state: string | undefined;
  /** The effective uid. */
  readonly uid: number | undefined;
  readonly filtered: boolean;
  /** The number of a set in the image of cgroups. */
  readonly cgroups: number | undefined;
}

const architectures = [
  'unknown',
  'x86_64',
  'arm',
  'aarch64',
  'ppc64',
  's390',
  'mips',
  'loongarch64',
  'riscv64',
];
const seccompFilter = 2;
/** TASK_COMM_LEN of the kernel is 16; that of later kernels may be greater. */
const mostNameBytes = 64;

export function coreFacts(core: Message): CoreFacts {
  const task = core.message('tc');
  const thread = core.message('thread_core');
  const state = task?.number('task_state');
  const march = core.number('mtype')!;
  return {
    architecture: architectures[march] ?? `architecture ${march}`,
    name: task?.text('comm', mostNameBytes) ?? thread?.text('comm', mostNameBytes),
    state: state === undefined ? undefined : (states[state] ?? `state ${state}`),
    uid: thread?.message('creds')?.number('euid'),
    filtered: thread?.number('seccomp_mode') === seccompFilter,
    cgroups: thread?.number('cg_set') ?? task?.number('cg_set'),
  };
}

export interface Credentials {
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
}

const idNames = ['', 'e', 's', 'fs'] as const;
/** NGROUPS_MAX of limits.h. */
const mostGroups = 65_536;

/** Of a single task at a time: the groups of all could be gigabytes. */
export function credentialsOf(core: Message): Credentials | undefined {
  const creds = core.message('thread_core')?.message('creds');
  return (
    creds && {
      uids: idNames.map((which) => creds.number(`${which}uid`)!),
      gids: idNames.map((which) => creds.number(`${which}gid`)!),
      groups: first(creds.numbers('groups'), mostGroups),
    }
  );
}

export interface SpaceFacts {
  readonly mappings: number;
  readonly mappedBytes: number;
  readonly executable: number;
  readonly pageSize: number;
  readonly argumentsFrom: number;
  readonly argumentsTo: number;
}

/** AT_PAGESZ of getauxval(3). */
const pageSizeTag = 6;
const usualPageSize = 4096;

export function spaceFacts(space: Message): SpaceFacts {
  let mappings = 0;
  let mappedBytes = 0;
  for (const vma of space.messages('vmas')) {
    mappings += 1;
    mappedBytes += Math.max(0, vma.number('end')! - vma.number('start')!);
  }
  return {
    mappings,
    mappedBytes,
    executable: space.number('exe_file_id')!,
    pageSize: pageSizeOf(space),
    argumentsFrom: space.number('mm_arg_start')!,
    argumentsTo: space.number('mm_arg_end')!,
  };
}

function pageSizeOf(space: Message): number {
  let tag: number | undefined;
  for (const value of space.numbers('mm_saved_auxv')) {
    if (tag === pageSizeTag) return isPageSize(value) ? value : usualPageSize;
    tag = tag === undefined ? value : undefined;
  }
  return usualPageSize;
}

function isPageSize(value: number): boolean {
  return value >= 4096 && value <= 1 << 21 && Number.isInteger(Math.log2(value));
}

/** PE_PARENT, PE_LAZY and PE_PRESENT of CRIU's pagemap.h; newer flags change the layout of the pages. */
const inParentFlag = 1;
export const lazyFlag = 2;
export const presentFlag = 4;

export interface PageRun {
  readonly address: number;
  readonly pages: number;
  readonly place: 'here' | 'parent' | 'lazy' | 'nowhere';
  /** Written by a CRIU that keeps pages in another way, for example compressed. */
  readonly strange: boolean;
}

export function pageRun(entry: Message): PageRun {
  let address = 0;
  let compatible = 0;
  let pages: number | undefined;
  let flags: number | undefined;
  let inParent = false;
  let strange = false;
  // Pagemaps have millions of entries, so each is read once. The numbers are those of proto/images/memory.proto.
  for (const reader = entry.fields(); reader.next(); ) {
    const value = valueAt(reader);
    if (reader.number === 1) address = value;
    else if (reader.number === 2) compatible = value;
    else if (reader.number === 3) inParent = value !== 0;
    else if (reader.number === 4) flags = value;
    else if (reader.number === 5) pages = value;
    else strange = true;
  }
  const place =
    flags === undefined
      ? inParent
        ? 'parent'
        : 'here'
      : flags & presentFlag
        ? 'here'
        : flags & inParentFlag
          ? 'parent'
          : flags & lazyFlag
            ? 'lazy'
            : 'nowhere';
  return {
    address,
    pages: pages ?? compatible,
    place,
    strange: strange || ((flags ?? 0) & ~(inParentFlag | lazyFlag | presentFlag)) !== 0,
  };
}

function valueAt({ high, low }: FieldReader): number {
  return high * 0x1_0000_0000 + low;
}

export interface PagesFacts {
  /** The number of the pages image. */
  readonly pagesId: number;
  readonly here: number;
  readonly inParent: number;
  readonly lazy: number;
  readonly runs: number;
  readonly strange: boolean;
}

/** @param visit gets each run, and the number of pages before it in the pages image. */
export function readPagemap(
  reading: Reading,
  name: string,
  visit: (run: PageRun, before: number) => void = () => undefined,
): PagesFacts | 'absent' | 'faulty' {
  const facts = { pagesId: 0, here: 0, inParent: 0, lazy: 0, runs: 0, strange: false };
  const outcome = reading.each(name, 'PAGEMAP', ({ message }, index) => {
    if (index === 0) {
      facts.pagesId = message.number('pages_id')!;
      return;
    }
    const run = pageRun(message);
    visit(run, facts.here);
    facts.runs += 1;
    if (run.place === 'here') facts.here += run.pages;
    else if (run.place === 'parent') facts.inParent += run.pages;
    else if (run.place === 'lazy') facts.lazy += run.pages;
    facts.strange ||= run.strange;
  });
  return outcome === 'read' ? facts : outcome;
}
