/** criuctl dump, criuctl pre-dump */
import type { DumpOptions } from '../client/options.ts';
import { readDumpStatistics } from '../client/statistics.ts';
import { placesOf } from './directories.ts';
import { imageBytes, memoryOfTree } from './images.ts';
import type { Invocation, Outcome } from './invocation.ts';
import { dumpSummary } from './summary.ts';
import { absolute, watch, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { verb, options } = invocation;
  const pid = options.pid!;
  const places = placesOf(options);
  const request = withDefaults<DumpOptions>(invocation, places, 'writes');
  const client = invocation.client();
  // The directory may hold images of an earlier dump, which are replaced.
  const before = imageBytes(places.images).pages;
  const written = (): number => imageBytes(places.images).pages;
  await watch(
    invocation,
    { total: () => memoryOfTree(pid), now: () => Math.max(0, written() - before), end: written },
    async (notifications) => {
      const all = { ...request, ...(notifications ? { notifications } : {}) };
      if (verb === 'dump') await client.dump(all);
      else await client.singlePreDump(all);
    },
  );
  const images = absolute(places.images);
  const bytes = imageBytes(places.images).all;
  const statistics = readDumpStatistics(places.work);
  const then =
    options.leaveRunning || verb === 'pre-dump'
      ? ', and runs on'
      : options.leaveStopped
        ? ', and is stopped'
        : '';
  return {
    sentence: `Process ${pid} is in ${images}${then}`,
    value: images,
    json: {
      verb,
      pid,
      imagesDir: images,
      log: `${absolute(places.work)}/${request.logFile}`,
      bytes,
      statistics,
    },
    summary: dumpSummary(bytes, statistics),
  };
}
