/**
 * What a run draws from: SOAK_SEED of whoever started it; else, in the soak, a number of its own, and in the tests always the same one.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { payload } from '../system/support/bench.ts';

const given = readFileSync(join(payload, 'soak-seed'), 'utf8').trim();
const inSoak = existsSync(join(payload, 'soak'));

export const seed = given !== '' ? Number(given) : inSoak ? Date.now() % 1_000_000_000 : 2015;
