// run.mjs BUNDLE: runs it with mocha: its command line would look for configurations and start a second Node first.
import { existsSync, readFileSync } from 'node:fs';
import Mocha from 'mocha';
import Reporter from './reporter.mjs';

const beside = (name) => new URL(`./${name}`, import.meta.url);

// No test asserts a time; the limit only ends a run that hangs, and under emulation CRIU takes twenty times as long.
const mocha = new Mocha({ ui: 'bdd', reporter: Reporter, timeout: 300_000, slow: 2_000 });

// A regular expression for full titles narrows the run (TESTS); so do full titles, one a line, where there is a file of them.
const pattern = new RegExp(readFileSync(beside('tests'), 'utf8').trim());
const titles = existsSync(beside('titles')) ? readFileSync(beside('titles'), 'utf8').split('\n') : undefined;
if (titles || pattern.source !== '(?:)') {
  const chosen = titles && new Set(titles);
  // Of a regular expression mocha calls this method alone.
  mocha.grep({ test: (title) => pattern.test(title) && (!chosen || chosen.has(title)) });
}
mocha.addFile(new URL(process.argv[2], import.meta.url).pathname);
mocha.run((failures) => {
  process.exitCode = failures > 0 ? 1 : 0;
});
