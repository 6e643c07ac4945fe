/** criuctl dump, criuctl pre-dump */
import { realpathSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { DumpOptions } from '../client/options.ts';
import type { DumpResult } from '../client/results.ts';
import { readDumpStatistics } from '../client/statistics.ts';
import { ActionScripts } from './action-script.ts';
import { type Destination, destinationOf } from './destination.ts';
import { detachIfAsked, requireOutside } from './detach.ts';
import { placesOf } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { imageBytes, memoryOfTree } from './images.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { dumpLive, type Round, requireRounds, roundsSummary } from './live.ts';
import { lookFirst } from './look-first.ts';
import { dumpSummary } from './summary.ts';
import { inBytes } from './words.ts';
import { absolute, reachable, watch, withDefaults } from './work.ts';

export async function run(invocation: Invocation): Promise<Outcome> {
  const detached = detachIfAsked(invocation);
  if (detached) return detached;
  const { verb, options, own } = invocation;
  const pid = options.pid!;
  const destination = destinationOf(invocation, options.logFile ?? `${verb}.log`);
  const { request, result, rounds } = await asking(invocation, destination);
  destination.complete();
  const places = placesOf(options);
  const compression = own.compress
    ? await compressAfter(request.imagesDir, places.images, invocation.signal)
    : undefined;
  const warnings = [...warningsOf(result), ...(compression?.warnings ?? [])];
  const images = absolute(places.images);
  const sizes = [places.images, ...rounds.map(({ name }) => join(places.images, name))];
  const bytes = sizes.reduce((sum, path) => sum + imageBytes(path).all, 0);
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
      ...(rounds.length === 0 ? {} : { rounds }),
      ...(compression?.compressed ? { compressed: compression.compressed } : {}),
      ...(warnings.length === 0 ? {} : { warning: warnings.join('; ') }),
    },
    warnings,
    summary: [...roundsSummary(rounds), ...dumpSummary(bytes, statistics), ...(compression?.summary ?? [])],
  };
}

interface Compression {
  readonly compressed?: { readonly files: number; readonly bytes: number; readonly compressed: number };
  readonly summary?: readonly string[];
  readonly warnings?: readonly string[];
}

/** A dump is complete also where its pages cannot be compressed. */
async function compressAfter(
  directory: DumpOptions['imagesDir'],
  images: string,
  signal: AbortSignal,
): Promise<Compression> {
  const { compressDump, sumOf } = await import('./images/images.ts');
  try {
    // A directory beside it may have taken its place; for root it is open.
    const place = typeof directory === 'number' ? reachable(directory) : images;
    const compressed = sumOf((await compressDump(place, images, signal)).files);
    const sizes = `${inBytes(compressed.bytes)} of pages to ${inBytes(compressed.compressed)}`;
    return { compressed, summary: [`compressed     ${sizes}`] };
  } catch (error) {
    const advice = `criuctl images compress ${images} does it later`;
    if (signal.aborted)
      return { warnings: [`the images are complete, and not all are compressed; ${advice}`] };
    return {
      warnings: [
        `the images are complete, and not all are compressed: ${(error as Error).message}; ${advice}`,
      ],
    };
  }
}

/** A dump reads the pagemaps of the dump before, and --auto-dedup writes into its pages. @throws Obstacle */
async function requireExpandedParent(verb: string, images: string, parent: string): Promise<void> {
  const { compressedDirectories } = await import('./images/images.ts');
  // In a path through a descriptor ".." leads up from the directory itself: only the kernel, and not node:path, knows where.
  const [first] = compressedDirectories(isAbsolute(parent) ? parent : `${images}/${parent}`);
  if (first === undefined) return;
  throw new Obstacle(
    exitCodes.refused,
    `${verb.toUpperCase().replace('-', '_')} refused: the images before are compressed, and CRIU reads them`,
    `Expand them first: criuctl images expand ${realpathSync.native(first)}`,
  );
}

async function asking(
  invocation: Invocation,
  destination: Destination,
): Promise<{
  request: DumpOptions & { logFile: string };
  result: DumpResult;
  rounds: readonly Round[];
}> {
  const { verb, options, own } = invocation;
  const { places } = destination;
  try {
    const request = withDefaults<DumpOptions>(invocation, places, 'writes');
    requireOutside(invocation);
    destination.requireUnused();
    if (options.parentImg !== undefined)
      await requireExpandedParent(verb, reachable(request.imagesDir), options.parentImg);
    if (own.live !== undefined) requireRounds(invocation);
    if (verb === 'dump') await lookFirst(invocation);
    const client = invocation.client();
    const written = (): number => imageBytes(places.images).pages;
    const scripts = ActionScripts.for(invocation, reachable(request.imagesDir));
    const done = await watch(
      invocation,
      scripts,
      { total: () => memoryOfTree(options.pid!), now: written, end: written },
      async (notifications) => {
        const { onFrozen } = own;
        const handlers = { ...notifications, ...(onFrozen ? { postDump: onFrozen } : {}) };
        const all = { ...request, ...(Object.keys(handlers).length > 0 ? { notifications: handlers } : {}) };
        const listed = { ...all, manifest: { digestPages: own.digestPages } };
        if (own.live !== undefined) return dumpLive(invocation, places, listed, own.live);
        if (verb === 'dump') return { result: await client.dump(listed), rounds: [] };
        await client.singlePreDump(all);
        return { result: { restored: false }, rounds: [] };
      },
    );
    return { request, ...done };
  } catch (error) {
    throw destination.failed(error);
  }
}

function warningsOf({ warning, manifestFailure }: DumpResult): string[] {
  return [
    ...(warning === undefined ? [] : [warning]),
    // Leaves out the call and its path.
    ...(manifestFailure === undefined
      ? []
      : [`the images are complete, and have no manifest: ${manifestFailure.message.split(', ')[0]}`]),
  ];
}
