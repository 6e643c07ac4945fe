/** What a run draws its moments from: SOAK_SEED of whoever started it, else a number of its own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { payload } from '../system/support/bench.ts';

const given = readFileSync(join(payload, 'soak-seed'), 'utf8').trim();

export const seed = given === '' ? Date.now() % 1_000_000_000 : Number(given);
