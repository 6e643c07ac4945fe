/**
 * Mocha's spec reporter, which also
 * - writes the result of each test, as one line of JSON, to the file that MOCHA_RESULTS names: test/support/results.mjs reads it;
 * - prints the reason for each test that this machine cannot show (cannotShowHere in test/system/support/bench.ts).
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import mocha from 'mocha';

const { Spec } = mocha.reporters;

export default class Reporter extends Spec {
  constructor(runner, options) {
    super(runner, options);
    const file = process.env.MOCHA_RESULTS;
    if (file) writeFileSync(file, '');
    const record = (test, state, more) => {
      if (!file) return;
      const line = { title: test.fullTitle(), state, ms: test.duration, ...more };
      appendFileSync(file, `${JSON.stringify(line)}\n`);
    };
    const notShown = [];
    runner.on('pass', (test) => record(test, 'passed'));
    runner.on('fail', (test, error) => record(test, 'failed', { reason: error?.message }));
    runner.on('pending', (test) => {
      const reason = test.cannotShowHere ?? 'marked as pending in its source';
      notShown.push(`${test.fullTitle()}: ${reason}`);
      record(test, 'skipped', { reason });
    });
    runner.once('end', () => {
      if (notShown.length > 0) console.log('  Not shown on this machine:');
      for (const line of notShown) console.log(`    - ${line}`);
      // Without it the run ended in its middle.
      if (file) appendFileSync(file, `${JSON.stringify({ ended: true })}\n`);
    });
  }
}
