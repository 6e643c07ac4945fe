// run.mjs BUNDLE: runs it with mocha. mocha's command line would first search for configurations and start a second Node.
import { existsSync, readFileSync } from 'node:fs';
import Mocha from 'mocha';
import Reporter from './reporter.mjs';

const beside = (name) => new URL(`./${name}`, import.meta.url);

// Tests do not assert times; the limit only ends a run that hangs, and under emulation CRIU takes twenty times as long.
const mocha = new Mocha({ ui: 'bdd', reporter: Reporter, timeout: 1_800_000, slow: 2_000 });

// A regular expression for full titles narrows the run (TESTS); so does a file of full titles, each on a line.
const pattern = new RegExp(readFileSync(beside('tests'), 'utf8').trim());
const titles = existsSync(beside('titles')) ? readFileSync(beside('titles'), 'utf8').split('\n') : undefined;
if (titles || pattern.source !== '(?:)') {
  const chosen = titles && new Set(titles);
  // mocha calls only this method of a regular expression.
  mocha.grep({ test: (title) => pattern.test(title) && (!chosen || chosen.has(title)) });
}
mocha.addFile(new URL(process.argv[2], import.meta.url).pathname);
mocha.run((failures) => {
  // A child that a failed test has left would keep this process, and the machine, for hours.
  process.exit(failures > 0 ? 1 : 0);
});
