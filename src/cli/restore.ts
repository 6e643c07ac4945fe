/** criuctl restore */
import { writeFileSync } from 'node:fs';
import type { RestoreOptions } from '../client/options.ts';
import { readRestoreStatistics } from '../client/statistics.ts';
import { newFile, placesOf } from './directories.ts';
import { imageBytes, memoryOf, pidsOfImages } from './images.ts';
import type { Invocation, Outcome } from './invocation.ts';
import { restoreSummary } from './summary.ts';
import { absolute, watch, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { own, options } = invocation;
  const places = placesOf(options);
  const request = withDefaults<RestoreOptions>(invocation, places, 'reads');
  const pidfile = own.pidfile === undefined ? undefined : newFile(invocation, own.pidfile);
  const client = invocation.client();
  const pages = imageBytes(places.images).pages;
  const pids = pidsOfImages(places.images);
  const { pid } = await watch(
    invocation,
    { total: () => pages, now: () => Math.min(memoryOf(pids), pages), end: () => pages },
    (notifications) => client.restore({ ...request, ...(notifications ? { notifications } : {}) }),
  );
  if (pidfile !== undefined) writeFileSync(pidfile, `${pid}`, { flag: 'wx' });
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
