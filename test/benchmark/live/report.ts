/** report.ts RESULTS_FILE OUT_DIRECTORY: prints the tables of live checkpoints, leaves bench-live.json and bench-live.svg. */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plotLive } from './plot.ts';
import type { LiveResults } from './results.ts';
import { renderLive } from './table.ts';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) throw new Error('usage: report.ts RESULTS_FILE OUT_DIRECTORY');

const results: LiveResults = JSON.parse(readFileSync(from, 'utf8'));
console.log(renderLive(results));
copyFileSync(from, join(to, 'bench-live.json'));
writeFileSync(join(to, 'bench-live.svg'), plotLive(results));
console.log(`${join(to, 'bench-live.json')} ${join(to, 'bench-live.svg')}`);
