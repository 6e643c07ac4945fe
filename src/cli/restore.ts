/** criuctl restore */
import { writeFileSync } from 'node:fs';
import type { RestoreOptions } from '../client/options.ts';
import { readRestoreStatistics } from '../client/statistics.ts';
import { exitCodes } from './exit-codes.ts';
import { imageBytes, memoryOf, pidsOfImages } from './images.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { restoreSummary } from './summary.ts';
import { whoElseWrites } from './trust.ts';
import { absolute, placesOf, watch, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { own, options } = invocation;
  const places = placesOf(options);
  if (process.geteuid?.() === 0 && !own.trustImages) refuseForeignImages(places.images);
  const request = withDefaults<RestoreOptions>(invocation, places);
  const client = invocation.client();
  const pages = imageBytes(places.images).pages;
  const pids = pidsOfImages(places.images);
  const { pid } = await watch(
    invocation,
    { total: () => pages, now: () => Math.min(memoryOf(pids), pages), end: () => pages },
    (notifications) => client.restore({ ...request, ...(notifications ? { notifications } : {}) }),
  );
  if (own.pidfile !== undefined) writeFileSync(own.pidfile, `${pid}`, { flag: 'wx' });
  const statistics = readRestoreStatistics(places.work);
  return {
    sentence: `Process ${pid} runs again`,
    value: `${pid}`,
    json: {
      verb: 'restore',
      pid,
      imagesDir: absolute(places.images),
      log: `${absolute(places.work)}/${request.logFile}`,
      statistics,
    },
    summary: restoreSummary(statistics),
  };
}

/** As root CRIU does what images say, whoever wrote them. */
function refuseForeignImages(images: string): void {
  let found: string | undefined;
  try {
    found = whoElseWrites(images);
  } catch {
    // A directory that cannot be read is the client's to complain about.
    return;
  }
  if (found === undefined) return;
  throw new Obstacle(
    exitCodes.refused,
    `RESTORE refused: ${found}, and whoever writes images decides what root restores`,
    'Restore as that user, or say --trust-images',
  );
}
