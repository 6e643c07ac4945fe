/**
 * Mocha's spec reporter, which besides
 * - writes the counts, as `PASSED FAILED SKIPPED`, to the file that MOCHA_COUNTS names, for the line that ends `npm test`;
 * - says why each test that this machine cannot show did not run (cannotShowHere in test/system/support/bench.ts).
 */
import { writeFileSync } from 'node:fs';
import mocha from 'mocha';

const { Spec } = mocha.reporters;

export default class Reporter extends Spec {
  constructor(runner, options) {
    super(runner, options);
    const notShown = [];
    runner.on('pending', (test) => {
      notShown.push(`${test.fullTitle()}: ${test.cannotShowHere ?? 'marked as pending in its source'}`);
    });
    runner.once('end', () => {
      if (notShown.length > 0) console.log('  Not shown on this machine:');
      for (const line of notShown) console.log(`    - ${line}`);
      const { passes, failures, pending } = runner.stats;
      const file = process.env.MOCHA_COUNTS;
      if (file) writeFileSync(file, `${passes} ${failures} ${pending}\n`);
    });
  }
}
