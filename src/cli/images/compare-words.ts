/** A comparison of images in words, and as an object. Pure. */
import type { Listed } from '../../images/bounded.ts';
import type { Difference, MappingDifference, TaskDifference } from '../../images/compare.ts';
import type { PageCounts } from '../../images/compare-memory.ts';
import { sanitize } from '../../systemd/log.ts';
import { columns, counted, inBytes } from '../words.ts';
import { inWords } from './show-words.ts';

const mostTasks = 50;
const mostMappings = 20;
const mostThings = 20;

export function differenceInWords({ first, second, tasks, files, sockets, faults }: Difference): string {
  const differing = tasks.filter(differs);
  const shown = differing.slice(0, mostTasks);
  const same = tasks.length - differing.length;
  return [
    sanitize(`${second}, compared with ${first}`),
    ...(same > 0 ? [`${counted(same, 'task')} without a difference`] : []),
    ...shown.flatMap(taskInWords),
    ...(differing.length > shown.length
      ? [`and ${differing.length - shown.length} more tasks that differ`]
      : []),
    ...thingsInWords('file', files, ({ path, is }) => `${path}: ${is}`),
    ...thingsInWords('socket', sockets, ({ name, is }) => `${name}: ${is}`),
    ...faults.map(inWords),
  ].join('\n');
}

function differs({ is, changes, mappings }: TaskDifference): boolean {
  return is !== 'in both' || changes.length > 0 || mappings.items.length > 0;
}

function taskInWords({ pid, program, is, changes, memory, mappings }: TaskDifference): string[] {
  const words = program.length > 100 ? `${program.slice(0, 100)}…` : program;
  const fate = is === 'in both' ? '' : ` (${is})`;
  const most = mappings.items.toSorted((a, b) => weight(b.bytes) - weight(a.bytes)).slice(0, mostMappings);
  const left = mappings.items.length - most.length + mappings.more;
  return [
    '',
    sanitize(`${pid} ${words}${fate}: ${memoryInWords(memory)}`),
    ...changes.map((change) => sanitize(`  ${change}`)),
    ...(most.length > 0
      ? columns([['  CHANGED', 'ADDED', 'REMOVED', 'SAME', 'MAPPING'], ...most.map(rowOf)])
      : []),
    ...(left > 0 ? [`  and ${left} more mappings that differ`] : []),
  ];
}

function weight({ changed, added, removed, unknown }: PageCounts): number {
  return changed + added + removed + unknown;
}

function rowOf({ from, to, name, is, bytes }: MappingDifference): string[] {
  const more = [
    is === 'in both' ? '' : ` (${is})`,
    bytes.unknown > 0 ? ` (${inBytes(bytes.unknown)} unknown)` : '',
  ];
  return [
    `  ${inBytes(bytes.changed)}`,
    inBytes(bytes.added),
    inBytes(bytes.removed),
    inBytes(bytes.same),
    sanitize(`${from}-${to} ${name}${more.join('')}`),
  ];
}

function memoryInWords({ changed, added, removed, same, unknown }: PageCounts): string {
  const parts = (
    [
      [changed, 'changed'],
      [added, 'added'],
      [removed, 'removed'],
      [same, 'the same'],
      [unknown, 'unknown'],
    ] as const
  ).filter(([bytes]) => bytes > 0);
  return parts.length === 0
    ? 'no memory'
    : parts.map(([bytes, word]) => `${inBytes(bytes)} ${word}`).join(', ');
}

function thingsInWords<T>(noun: string, { items, more }: Listed<T>, tell: (item: T) => string): string[] {
  if (items.length === 0) return [];
  const left = items.length - Math.min(items.length, mostThings) + more;
  return [
    '',
    `${counted(items.length + more, noun)} with a difference`,
    ...items.slice(0, mostThings).map((item) => sanitize(`  ${tell(item)}`)),
    ...(left > 0 ? [`  and ${left} more`] : []),
  ];
}

/** The object of --json; man criuctl describes it. */
export function differenceAsJson(difference: Difference): object {
  return { verb: 'images', action: 'compare', ...difference };
}
