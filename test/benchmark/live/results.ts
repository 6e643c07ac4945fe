/** The results of the measurement of live checkpoints, and what they come to. Pure. */
import { summarize } from '../results.ts';

/** The `criu` command as root, or criuctl as a user without root. */
export type Way = 'command' | 'alice';

/** How much is measured. */
export interface Counts {
  /** Megabytes of the program. */
  readonly sizes: readonly number[];
  /** By size. */
  readonly rounds: Readonly<Record<string, number>>;
  /** Lengths of chains. */
  readonly chains: readonly number[];
  readonly chainMegabytes: number;
}

export type Kind =
  | 'full'
  | 'incremental'
  | 'live'
  | 'restore'
  | 'pre-dump'
  /** A write to each page: as usual, after the memory began to be tracked, and once more. */
  | 'sweep'
  | 'sweep-tracked'
  | 'sweep-after';

export interface Sample {
  readonly kind: Kind;
  readonly way: Way;
  readonly megabytes: number;
  /** Of the pages, written to since the checkpoint before; for `live` in each second. */
  readonly percent: number;
  /** From the start of the command to its end. */
  readonly wallMs: number;
  /** CRIU's statistic. */
  readonly frozenMs?: number;
  /** Of memory, in the last directory. */
  readonly bytes?: number;
  /** Pre-dumps before a live dump; directories of a chain. */
  readonly rounds?: number;
}

export interface LiveResults {
  readonly machine: Readonly<Record<string, string>>;
  readonly samples: readonly Sample[];
  readonly failures: readonly string[];
}

/** Medians of all samples of the same work. */
export interface Row extends Required<Pick<Sample, 'kind' | 'way' | 'megabytes' | 'percent' | 'wallMs'>> {
  readonly n: number;
  readonly frozenMs: number | undefined;
  readonly bytes: number | undefined;
  readonly rounds: number | undefined;
}

/** In the order in which they were first measured. Chains of different lengths are different works. */
export function rowsOf(samples: readonly Sample[]): Row[] {
  const works = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { kind, way, megabytes, percent, rounds } = sample;
    const key = [kind, way, megabytes, percent, kind === 'restore' ? rounds : ''].join(' ');
    works.set(key, [...(works.get(key) ?? []), sample]);
  }
  return [...works.values()].map((all) => {
    const { kind, way, megabytes, percent } = all[0]!;
    const median = (of: (sample: Sample) => number | undefined): number | undefined => {
      const numbers = all.map(of).filter((each) => each !== undefined);
      return numbers.length === 0 ? undefined : summarize(numbers).median;
    };
    return {
      kind,
      way,
      megabytes,
      percent,
      n: all.length,
      wallMs: median(({ wallMs }) => wallMs)!,
      frozenMs: median(({ frozenMs }) => frozenMs),
      bytes: median(({ bytes }) => bytes),
      rounds: median(({ rounds }) => rounds),
    };
  });
}

/** Microseconds for the first write to a page of tracked memory; undefined if that was not measured. */
export function faultMicroseconds(rows: readonly Row[]): number | undefined {
  const of = (kind: Kind): Row | undefined => rows.find((row) => row.kind === kind);
  const [plain, tracked] = [of('sweep'), of('sweep-tracked')];
  return plain && tracked && ((tracked.wallMs - plain.wallMs) * 1000) / (tracked.megabytes * 256);
}
