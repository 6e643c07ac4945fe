// run.mjs BUNDLE: runs it with mocha: its command line would look for configurations and start a second Node first.
import { readFileSync } from 'node:fs';
import Mocha from 'mocha';
import Reporter from './reporter.mjs';

// No test asserts a time; the limit only ends a run that hangs, and under emulation CRIU takes twenty times as long.
const mocha = new Mocha({ ui: 'bdd', reporter: Reporter, timeout: 120_000, slow: 2_000 });
const pattern = readFileSync(new URL('./tests', import.meta.url), 'utf8').trim();
if (pattern !== '') mocha.grep(new RegExp(pattern));
mocha.addFile(new URL(process.argv[2], import.meta.url).pathname);
mocha.run((failures) => {
  process.exitCode = failures > 0 ? 1 : 0;
});
