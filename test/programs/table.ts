/** The table of all trials, in Markdown. Pure. */
import type { User } from '../hostile/support/people.ts';
import { isGood, type Outcome, outcomeOf, type Trial, wordsFor } from './outcome.ts';

export interface Row {
  readonly program: string;
  readonly trials: ReadonlyMap<User, Trial>;
}

const verdictWords = {
  'comes-back': 'yes',
  'with-option': 'yes, with option',
  'does-not-come-back': 'no',
  'cannot-be-told': 'cannot tell',
} as const;

export function tableOf(rows: readonly Row[], users: readonly User[], heading: string): string {
  const head = ['program', ...users.map((user) => `${user}: look, outcome`), 'options', 'sentence'];
  return [
    `# ${heading}`,
    '',
    line(head),
    line(head.map(() => '---')),
    ...rows.map((row) => line(cellsOf(row, users))),
    '',
    ...counts(rows),
    '',
  ].join('\n');
}

function cellsOf({ program, trials }: Row, users: readonly User[]): string[] {
  const present = [...trials.values()];
  return [
    program,
    ...users.map((user) => {
      const trial = trials.get(user);
      return trial ? inWords(trial) : 'does not run as this user';
    }),
    distinct(present.map(({ options }) => options.join(' '))),
    distinct(present.map((trial) => sentenceOf(trial).split('\n')[0]!)),
  ];
}

function inWords(trial: Trial): string {
  const outcome = wordsFor(outcomeOf(trial));
  return trial.verdict === undefined ? outcome : `${verdictWords[trial.verdict]}: ${outcome}`;
}

export function sentenceOf({ fault, attempt, forced }: Trial): string {
  if (fault !== undefined) return fault;
  if (attempt?.dump.status !== 0) return attempt?.dump.sentence ?? '';
  return attempt.restore?.status === 0 ? (forced?.dump.sentence ?? '') : (attempt.restore?.sentence ?? '');
}

function distinct(words: readonly string[]): string {
  return [...new Set(words.filter((each) => each !== ''))].join('<br>');
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
}

function counts(rows: readonly Row[]): string[] {
  const all = new Map<Outcome, number>();
  for (const { trials } of rows) {
    for (const trial of trials.values()) {
      const outcome = outcomeOf(trial);
      all.set(outcome, (all.get(outcome) ?? 0) + 1);
    }
  }
  return [...all].map(([outcome, count]) => `- ${count} × ${wordsFor(outcome)}`);
}

export function failures(rows: readonly Row[]): string[] {
  return rows.flatMap(({ program, trials }) =>
    [...trials].flatMap(([user, trial]) => {
      const outcome = outcomeOf(trial);
      return isGood(outcome) ? [] : [`${program}, ${user}: ${wordsFor(outcome)}. ${sentenceOf(trial)}`];
    }),
  );
}
