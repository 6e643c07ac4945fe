/**
 * The seed of the moments of a run: SOAK_SEED if it is set; otherwise a number from the clock in the soak, a constant in the
 * tests.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { payload } from '../system/support/bench.ts';

const given = readFileSync(join(payload, 'soak-seed'), 'utf8').trim();
const inSoak = existsSync(join(payload, 'soak'));

export const seed = given !== '' ? Number(given) : inSoak ? Date.now() % 1_000_000_000 : 2015;
