/** The container's results: samples, memory, the machine; read and summed up. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The way to ask for a piece of work. */
export type Way = 'ours' | 'c' | 'cli' | 'nothing';

export interface Summary {
  readonly n: number;
  readonly min: number;
  readonly median: number;
  readonly p99: number;
}

export interface Work {
  readonly work: string;
  /** Times are in milliseconds; for `1/s` more is better. */
  readonly unit: 'ms' | '1/s';
  readonly ways: Readonly<Partial<Record<Way, Summary>>>;
}

export interface Memory {
  readonly what: string;
  readonly way: string;
  readonly processes: number;
  readonly pssKiB: number;
  readonly rssKiB: number;
  /** Open descriptors in all processes together. */
  readonly descriptors: number;
}

export interface Results {
  readonly machine: Readonly<Record<string, string>>;
  readonly works: readonly Work[];
  readonly memory: readonly Memory[];
  /** A line for each sample that could not be taken. */
  readonly failures: readonly string[];
}

/** The work whose samples are requests a second instead of nanoseconds. */
const crowd = 'crowd';

const nanosecondsPerMillisecond = 1e6;

export function readResults(directory: string): Results {
  const table = (name: string): string[][] =>
    readFileSync(join(directory, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t'));
  return {
    machine: Object.fromEntries(table('machine.tsv').map(([key = '', value = '']) => [key, value])),
    works: summarizeAll(table('samples.tsv')),
    memory: table('memory.tsv').map(([what = '', way = '', processes, pss, rss, descriptors]) => ({
      what,
      way,
      processes: Number(processes),
      pssKiB: Number(pss),
      rssKiB: Number(rss),
      descriptors: Number(descriptors),
    })),
    failures: table('failures.tsv').map((line) => line.join(': ')),
  };
}

/**
 * The ratio of our median to that of CRIU's service (or, if CRIU's service does not take part, to the way beside ours). For
 * times, below 1 is better; for rates, above 1.
 */
export function ratio({ ways }: Work): number | undefined {
  const other = ways.c ?? ways.nothing ?? ways.cli;
  return ways.ours && other ? ways.ours.median / other.median : undefined;
}

/** Microseconds to read each further task of a tree, by the largest tree; from medians. */
export function perTask(works: readonly Work[]): number | undefined {
  const trees = works.flatMap(({ work, ways }) => {
    const size = /^tree (\d+)$/.exec(work)?.[1];
    return size && ways.ours ? [{ size: Number(size), ms: ways.ours.median }] : [];
  });
  const first = trees[0];
  const last = trees.at(-1);
  return first && last && last.size > first.size
    ? ((last.ms - first.ms) * 1000) / (last.size - first.size)
    : undefined;
}

export function summarize(samples: readonly number[]): Summary {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  const middle = sorted.length / 2;
  const median = Number.isInteger(middle) ? ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2 : at(0.5);
  return { n: sorted.length, min: at(0), median, p99: at(0.99) };
}

/** In the order in which they were first measured. */
function summarizeAll(rows: readonly string[][]): Work[] {
  const works = new Map<string, Map<Way, number[]>>();
  for (const [work = '', way = '', number] of rows) {
    const ways = works.get(work) ?? new Map<Way, number[]>();
    works.set(work, ways);
    const samples = ways.get(way as Way) ?? [];
    ways.set(way as Way, samples);
    samples.push(Number(number) / (work === crowd ? 1 : nanosecondsPerMillisecond));
  }
  return [...works].map(([work, ways]) => ({
    work,
    unit: work === crowd ? '1/s' : 'ms',
    ways: Object.fromEntries([...ways].map(([way, samples]) => [way, summarize(samples)])),
  }));
}
