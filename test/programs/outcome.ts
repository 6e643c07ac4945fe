/** The outcome of a trial, from the facts of the trial. Pure. */
import type { Verdict } from '../../src/look/verdicts.ts';

export type Judgement = Verdict['verdict'];

/** A call of criuctl: its exit status, and its first sentence. */
export interface Call {
  readonly status: number | null;
  readonly sentence: string;
}

/** The events after a request for a dump. */
export interface Attempt {
  readonly dump: Call;
  /** Undefined if the dump failed. */
  readonly restore?: Call | undefined;
  /** The program, where it is now, does its work. */
  readonly works: boolean;
}

export interface Trial {
  /** Undefined if the program did not begin to work. */
  readonly verdict: Judgement | undefined;
  readonly options: readonly string[];
  readonly attempt?: Attempt | undefined;
  /** With --force, after a refusal. */
  readonly forced?: Attempt | undefined;
  /** The reason if the trial itself could not be made. */
  readonly fault?: string | undefined;
}

const outcomes = {
  back: { words: 'came back', isGood: true },
  refused: { words: 'refused before', isGood: true },
  /** The look could not tell, and said so. */
  'left-alone': { words: 'refused by CRIU, as may be', isGood: true },
  lost: { words: '**ended and lost**', isGood: false },
  'wrong-no': { words: '**came back although look said no**', isGood: false },
  'wrong-yes': { words: '**look said yes, and it did not**', isGood: false },
  /** A failed or refused dump has left a program that does not work. */
  hurt: { words: '**refused, and works no more**', isGood: false },
  fault: { words: '**not tried**', isGood: false },
} as const;

export type Outcome = keyof typeof outcomes;

export const refusedStatus = 3;

export function outcomeOf({ verdict, attempt, forced }: Trial): Outcome {
  if (verdict === undefined || !attempt) return 'fault';
  const { dump, works } = attempt;
  if (dump.status === 0) {
    if (!works) return 'lost';
    return verdict === 'does-not-come-back' ? 'wrong-no' : 'back';
  }
  if (!works) return 'hurt';
  if (verdict === 'cannot-be-told') return 'left-alone';
  if (verdict !== 'does-not-come-back') return 'wrong-yes';
  // The program came back as it was: then it should not have been refused.
  return forced?.dump.status === 0 && forced.works ? 'wrong-no' : 'refused';
}

export function wordsFor(outcome: Outcome): string {
  return outcomes[outcome].words;
}

export function isGood(outcome: Outcome): boolean {
  return outcomes[outcome].isGood;
}
