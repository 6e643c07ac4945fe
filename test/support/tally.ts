/**
 * tally.ts beside DIRECTORY: prints the titles for the VM to run in parallel with the container, a line each.
 * tally.ts left DIRECTORY: prints the titles for the VM to run after both have ended.
 * tally.ts count DIRECTORY: prints the tests that were not shown, those that failed with their errors, and the numbers of
 * passed, failed and skipped tests; fails if a test has failed.
 *
 * DIRECTORY has a directory for each run (host, container, vm, vm-later), with a file `status` and the reporter's files,
 * results-BOOT. Beside the directory of a run of the VM lies the list of its titles. TESTS narrows the titles as it narrows the
 * tests.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { failureText, leftToShow, parseResults, type Run, tally, whereShown } from './runs.ts';
import { seldomInContainer, smoke } from './smoke.ts';

const [command, directory = ''] = process.argv.slice(2);
const chosen = new RegExp(process.env.TESTS ?? '');
const folders = ['host', 'container', 'vm', 'vm-later'];
const runs = folders.filter((folder) => existsSync(join(directory, folder, 'status'))).map(read);

function read(name: string): Run {
  const folder = join(directory, name);
  const files = readdirSync(folder).filter((file) => file.startsWith('results-'));
  const boots = files.sort().map((file) => parseResults(readFileSync(join(folder, file), 'utf8')));
  return {
    name: name === 'vm-later' ? 'vm' : name,
    status: Number(readFileSync(join(folder, 'status'), 'utf8')),
    cutOff: boots.filter(({ ended }) => !ended).length,
    outcomes: boots.flatMap(({ outcomes }) => outcomes),
  };
}

/** The titles that a run of the VM was given. */
function promisedIn(folder: string): string[] {
  const file = join(directory, `${folder}.titles`);
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
}

if (command === 'beside') {
  for (const title of [...smoke, ...seldomInContainer]) if (chosen.test(title)) console.log(title);
} else if (command === 'left') {
  for (const title of leftToShow(runs)) console.log(title);
} else {
  const counts = tally(runs, folders.flatMap(promisedIn));
  for (const { title, reason, on } of counts.notShown) console.log(`Not shown (${on}): ${title}: ${reason}`);
  for (const failure of counts.failures) console.log(failureText(failure));
  for (const sentence of counts.whole) console.log(sentence);
  console.log(whereShown(counts, runs));
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.notShown.length} skipped`);
  if (counts.failed > 0) process.exitCode = 1;
}
