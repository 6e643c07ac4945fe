/** Would this dump restore, here, now, for this user? */
import { List, type Listed } from './bounded.ts';
import { Completeness } from './completeness.ts';
import { compressedInChain } from './compressed.ts';
import type { ImageDirectory } from './image-directory.ts';
import { judgeMachine, type Machine } from './machine.ts';
import { type Digests, judgeManifest, type Thoroughness } from './manifest/judge-manifest.ts';
import { Reading } from './reading.ts';
import type { Thing } from './things.ts';
import { type Circumstances, judge, type Verdict } from './verdicts.ts';

export interface Finding {
  readonly verdict: 'does-not-restore' | 'cannot-be-told';
  /** The kind of the thing, for example `absent`. */
  readonly kind: string;
  readonly why: string;
  readonly remedy: string;
}

export interface Verification {
  readonly directory: string;
  readonly verdict: 'restores' | 'does-not-restore' | 'cannot-be-told';
  /** Options that the restore needs. */
  readonly options: readonly string[];
  /** Images of pages, also in parents, that a restore expands first. */
  readonly compressed: number;
  /** Things that were looked at. */
  readonly checked: number;
  readonly findings: Listed<Finding>;
}

/**
 * The pages in compressed images, which a program has read.
 * @internal
 */
export interface ExpandedPages {
  readonly things: readonly Thing[];
  readonly digests: Digests;
}

const mostFindings = 200;

/**
 * Judges images by what they call for, and by their manifest if they have one.
 * @param machine undefined to judge the images alone.
 * @param thoroughness `small` leaves out digests of pages.
 * @param expanded the pages in compressed images, if they were read.
 * @internal
 */
export function verify(
  directory: ImageDirectory,
  circumstances: Circumstances,
  machine: Machine | undefined,
  thoroughness: Thoroughness = 'all',
  expanded: ExpandedPages = { things: [], digests: new Map() },
): Verification {
  const judging = new Judging(circumstances);
  const reading = new Reading(directory);
  /** Images whose fault was told. */
  const faulty = new Set<string>();
  const tell = (thing: Thing): void => {
    if (judging.judge(thing) !== 'restores' && 'file' in thing && faulty.size < mostFindings)
      faulty.add(thing.file);
  };
  const dumped = new Completeness(reading, tell, circumstances.tcpClose).judge();
  for (const thing of expanded.things) tell(thing);
  // The second reading finds the same faults again.
  for (const fault of reading.faults) tell({ kind: 'fault', ...fault });
  const listing = reading.apart();
  const manifest = judgeManifest(listing, tell, faulty, {
    thoroughness,
    withMachine: machine !== undefined,
    digests: expanded.digests,
  });
  for (const fault of listing.faults) tell({ kind: 'fault', ...fault });
  if (machine) judgeMachine(reading, dumped, machine, tell);
  for (const option of manifest?.restoreWith ?? []) judging.needs(option);
  const compressed = compressedInChain(reading.apart()).reduce((sum, { files }) => sum + files, 0);
  return { directory: directory.path, compressed, ...judging.conclude() };
}

class Judging {
  readonly #circumstances: Circumstances;
  readonly #never = new List<Finding>(mostFindings);
  readonly #unknown = new List<Finding>(mostFindings);
  readonly #options = new Set<string>();
  readonly #known = new Set<string>();
  #checked = 0;

  constructor(circumstances: Circumstances) {
    this.#circumstances = circumstances;
  }

  needs(option: string): void {
    this.#options.add(option);
  }

  judge(thing: Thing): Verdict['verdict'] {
    this.#checked += 1;
    const verdict = judge(thing, this.#circumstances);
    if (verdict.verdict === 'restores') {
      if (verdict.option !== undefined) this.#options.add(verdict.option);
      return verdict.verdict;
    }
    // Each process of a tree may have the same in its way.
    if (this.#known.has(verdict.why)) return verdict.verdict;
    if (this.#known.size < mostFindings) this.#known.add(verdict.why);
    const list = verdict.verdict === 'does-not-restore' ? this.#never : this.#unknown;
    list.add({ kind: thing.kind, ...verdict });
    return verdict.verdict;
  }

  conclude(): Omit<Verification, 'directory' | 'compressed'> {
    return {
      verdict:
        this.#never.items.length > 0
          ? 'does-not-restore'
          : this.#unknown.items.length > 0
            ? 'cannot-be-told'
            : 'restores',
      options: [...this.#options],
      checked: this.#checked,
      findings: {
        items: [...this.#never.items, ...this.#unknown.items],
        more: this.#never.more + this.#unknown.more,
      },
    };
  }
}
