/** The library that engines are run with, and one of which a wall was taken away for a test (test/system/payload builds it). */
import { copyFileSync, renameSync } from 'node:fs';
import { binary } from '../../system/support/bench.ts';

const installed = '/usr/lib/criu-service/criu-engine-preload.so';
const kept = `${installed}.kept`;

/** From here on the capability of engines is in effect all the time, and their user may look into them. */
export function takeWallsAway(): void {
  copyFileSync(installed, kept);
  copyFileSync(binary('preload-open.so'), `${installed}.new`);
  renameSync(`${installed}.new`, installed);
}

export function putWallsBack(): void {
  renameSync(kept, installed);
}
