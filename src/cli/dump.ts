/** criuctl dump, criuctl pre-dump */
import type { DumpOptions } from '../client/options.ts';
import { readDumpStatistics } from '../client/statistics.ts';
import { type Destination, destinationOf } from './destination.ts';
import { detachIfAsked, requireOutside } from './detach.ts';
import { placesOf } from './directories.ts';
import { imageBytes, memoryOfTree } from './images.ts';
import type { Invocation, Outcome } from './invocation.ts';
import { lookFirst } from './look-first.ts';
import { dumpSummary } from './summary.ts';
import { absolute, watch, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const detached = detachIfAsked(invocation);
  if (detached) return detached;
  const { verb, options } = invocation;
  const pid = options.pid!;
  const destination = destinationOf(invocation, options.logFile ?? `${verb}.log`);
  const { request, warning } = await asking(invocation, destination);
  destination.complete();
  const places = placesOf(options);
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
      ...(warning === undefined ? {} : { warning }),
    },
    warnings: warning === undefined ? [] : [warning],
    summary: dumpSummary(bytes, statistics),
  };
}

async function asking(
  invocation: Invocation,
  destination: Destination,
): Promise<{ request: DumpOptions & { logFile: string }; warning: string | undefined }> {
  const { verb, options } = invocation;
  const { places } = destination;
  try {
    const request = withDefaults<DumpOptions>(invocation, places, 'writes');
    requireOutside(invocation);
    destination.requireUnused();
    if (verb === 'dump') await lookFirst(invocation);
    const client = invocation.client();
    const written = (): number => imageBytes(places.images).pages;
    const warning = await watch(
      invocation,
      { total: () => memoryOfTree(options.pid!), now: written, end: written },
      async (notifications) => {
        const all = { ...request, ...(notifications ? { notifications } : {}) };
        if (verb === 'dump') return (await client.dump(all)).warning;
        await client.singlePreDump(all);
        return undefined;
      },
    );
    return { request, warning };
  } catch (error) {
    throw destination.failed(error);
  }
}
