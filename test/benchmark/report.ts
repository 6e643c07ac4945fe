/** report.ts RESULTS_DIRECTORY OUT_DIRECTORY: prints the table, leaves bench.json and bench.svg. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plot } from './plot.ts';
import { ratio, readResults } from './results.ts';
import { renderTable } from './table.ts';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined)
  throw new Error('usage: report.ts RESULTS_DIRECTORY OUT_DIRECTORY');

const results = readResults(from);
console.log(renderTable(results));

const works = results.works.map((work) => ({ ...work, ratio: ratio(work) }));
writeFileSync(join(to, 'bench.json'), `${JSON.stringify({ ...results, works }, undefined, 2)}\n`);
writeFileSync(join(to, 'bench.svg'), plot(results));
console.log(`${join(to, 'bench.json')} ${join(to, 'bench.svg')}`);
