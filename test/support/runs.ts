/** Combines the results of test runs on several machines. */

export interface Outcome {
  readonly title: string;
  readonly state: 'passed' | 'failed' | 'skipped';
  /** The error of a failure, or the reason why the machine cannot show the test. */
  readonly reason?: string;
}

export interface Run {
  /** `host`; or a machine that system tests run in: `container` or `vm`. */
  readonly name: string;
  /** The exit status of the whole. */
  readonly status: number;
  /** The number of boots without a record of their end. */
  readonly cutOff: number;
  readonly outcomes: readonly Outcome[];
}

/** @param text the lines that test/support/reporter.mjs has written during a boot. */
export function parseResults(text: string): { outcomes: Outcome[]; ended: boolean } {
  const lines = text.split('\n').filter((line) => line !== '');
  const records = lines.map((line) => JSON.parse(line) as Outcome | { ended: true });
  const outcomes = records.filter((record): record is Outcome => 'title' in record);
  return { outcomes, ended: records.some((record) => 'ended' in record) };
}

/** The outcome of a test, and the name of the run that had it. */
type Seen = Outcome & { readonly on: string };

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  /** Tests that failed, each with the error on the last machine where it failed. */
  readonly failures: readonly Seen[];
  /** Tests that were skipped on every machine, each with the reason of the last machine. */
  readonly notShown: readonly Seen[];
  /** Failures of whole runs, as sentences. */
  readonly whole: readonly string[];
}

const strength = { skipped: 0, passed: 1, failed: 2 } as const;

/**
 * Counts a test of several machines once: as failed if it failed on any of them, otherwise as passed if it passed on any. A run
 * with a bad exit status and no failed test counts as a failure, and so does each `promised` title that the VM should have run
 * and has not.
 */
export function tally(runs: readonly Run[], promised: readonly string[] = []): Tally {
  const tests = new Map<string, Seen>();
  const whole: string[] = [];
  for (const { name, status, cutOff, outcomes } of runs) {
    const seen = new Map<string, number>();
    for (const outcome of outcomes) {
      const times = seen.get(outcome.title) ?? 0;
      seen.set(outcome.title, times + 1);
      const key = `${name === 'host' ? 'host' : 'system'} ${times} ${outcome.title}`;
      const known = tests.get(key);
      if (!known || strength[outcome.state] >= strength[known.state])
        tests.set(key, { ...outcome, on: name });
    }
    const failed = outcomes.some(({ state }) => state === 'failed');
    if (outcomes.length === 0) whole.push(`${name}: ended with status ${status}, and no test ran`);
    else if (cutOff > 0) whole.push(`${name}: ended with status ${status} in the middle of its tests`);
    else if (status !== 0 && !failed)
      whole.push(`${name}: ended with status ${status}, although no test failed`);
  }
  const inVm = runs.filter(({ name }) => name === 'vm').flatMap(({ outcomes }) => outcomes);
  const known = new Set(inVm.map(({ title }) => title));
  for (const title of promised)
    if (!known.has(title)) whole.push(`vm: no test was run that is called "${title}"`);
  const all = [...tests.values()];
  const inState = (state: Outcome['state']): Seen[] => all.filter((test) => test.state === state);
  const failures = inState('failed');
  return {
    passed: inState('passed').length,
    failed: failures.length + whole.length,
    failures,
    notShown: inState('skipped'),
    whole,
  };
}

/** The titles of tests that the container could not show and the VM has not run. */
export function leftToShow(runs: readonly Run[]): string[] {
  const ofMachine = (machine: string): Outcome[] =>
    runs.filter(({ name }) => name === machine).flatMap(({ outcomes }) => outcomes);
  const known = new Set(ofMachine('vm').map(({ title }) => title));
  return ofMachine('container')
    .filter(({ state, title }) => state === 'skipped' && !known.has(title))
    .map(({ title }) => title);
}

/** The longest error of a failed test that is repeated at the end of all tests, in characters. */
const longestReason = 1500;

/** The text for a failed test at the end of all tests, which shows even where only the end of the output is kept. */
export function failureText({ title, on, reason }: Seen): string {
  const lines = (reason ?? 'no error is known').slice(0, longestReason).split('\n');
  return [`Failed (${on}): ${title}`, ...lines.map((line) => `    ${line}`)].join('\n');
}

/** The text before the last line: the number of tests that were skipped everywhere, and the machines that would show them. */
export function whereShown({ notShown }: Tally, runs: readonly Run[]): string {
  const names = new Set(runs.map(({ name }) => name));
  const sentences: string[] = [];
  if (notShown.length > 0) sentences.push(`${notShown.length} tests were not shown, see above why.`);
  else sentences.push('Every test that ran was shown.');
  const inMachine = notShown.filter(({ on }) => on === 'container').length;
  if (inMachine > 0) sentences.push(`The VM would show ${inMachine} of them: npm test, npm run test:vm.`);
  const here = notShown.length - inMachine;
  if (here > 0) sentences.push(`Another host would show ${here} of them.`);
  if (!names.has('container') && !names.has('vm'))
    sentences.push('The system tests were left out: npm test has them.');
  return sentences.join(' ');
}
