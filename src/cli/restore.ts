/** criuctl restore */
import type { RestoreOptions } from '../client/options.ts';
import { readRestoreStatistics } from '../client/statistics.ts';
import { isUnfinished, lastImage } from './destination.ts';
import { placesOf } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { imageBytes, memoryOf, pidsOfImages } from './images.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { pidFileFor } from './pid-file.ts';
import { restoreSummary } from './summary.ts';
import { absolute, watch, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const { options } = invocation;
  const places = placesOf(options);
  const request = withDefaults<RestoreOptions>(invocation, places, 'reads');
  if (isUnfinished(places.images)) {
    throw new Obstacle(
      exitCodes.refused,
      `RESTORE refused: ${places.images} is incomplete: the dump that wrote these images did not finish, and ${lastImage} is missing`,
      'Name the directory of another dump with -D',
    );
  }
  const pidFile = pidFileFor(invocation);
  const client = invocation.client();
  const pages = imageBytes(places.images).pages;
  const pids = pidsOfImages(places.images);
  const { pid } = await watch(
    invocation,
    { total: () => pages, now: () => Math.min(memoryOf(pids), pages), end: () => pages },
    (notifications) => client.restore({ ...request, ...(notifications ? { notifications } : {}) }),
  );
  pidFile?.write(pid);
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
