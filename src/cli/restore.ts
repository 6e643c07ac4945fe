/** criuctl restore */
import type { ImageOptions, RestoreOptions } from '../client/options.ts';
import { readRestoreStatistics } from '../client/statistics.ts';
import { ActionScripts } from './action-script.ts';
import { isUnfinished, lastImage } from './destination.ts';
import { type Places, placesOf } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { RestoredFiles } from './files/restore-files.ts';
import { imageBytes, memoryOf, pidsOfImages } from './images.ts';
import { type Invocation, Obstacle, type Outcome } from './invocation.ts';
import { afterMoment } from './moment.ts';
import { pidFileFor } from './pid-file.ts';
import { StreamRequest } from './streams/request.ts';
import { restoreSummary } from './summary.ts';
import { TerminalRequest } from './terminal/request.ts';
import { verifyFirst } from './verify-first.ts';
import { untilEnd } from './wait.ts';
import { absolute, reachable, watch, withDefaults } from './work.ts';

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
  await verifyFirst(invocation, places.images);
  const expanded = await expandFirst(reachable(request.imagesDir), places.images, invocation.signal);
  const { terminal, pid, warnings } = await withPidFile(invocation, places, request);
  const statistics = readRestoreStatistics(places.work);
  const outcome: Outcome = {
    sentence: `Process ${pid} runs again`,
    value: `${pid}`,
    json: {
      verb: 'restore',
      pid,
      imagesDir: absolute(places.images),
      log: `${absolute(places.work)}/${request.logFile}`,
      statistics,
      ...(expanded.length > 0 ? { expanded } : {}),
      ...(warnings.length > 0 ? { warnings } : {}),
    },
    summary: restoreSummary(statistics),
    warnings,
  };
  const settled = terminal ? await terminal.settle(pid, outcome) : outcome;
  // At a terminal, criuctl has stayed already.
  if (terminal?.isOwn) return settled;
  if (invocation.own.wait) return untilEnd(pid, settled);
  return options.leaveStopped ? settled : afterMoment(pid, settled, places.images);
}

/** CRIU reads no compressed pages: they are expanded in their place, and stay so. */
async function expandFirst(
  place: string,
  shown: string,
  signal: AbortSignal,
): Promise<readonly { readonly directory: string; readonly files: number; readonly bytes: number }[]> {
  const { compressedDirectories, expandChain, sumOf } = await import('./images/images.ts');
  if (compressedDirectories(place).length === 0) return [];
  const done = await expandChain(place, shown, signal);
  return done.map(({ directory, files }) => ({ directory, files: files.length, bytes: sumOf(files).bytes }));
}

interface Restored {
  readonly terminal: TerminalRequest | undefined;
  readonly pid: number;
  readonly warnings: readonly string[];
}

/** The pid file is checked before the restore, and let go after it. */
async function withPidFile(
  invocation: Invocation,
  places: Places,
  request: RestoreOptions & ImageOptions,
): Promise<Restored> {
  const pidFile = pidFileFor(invocation);
  try {
    const scripts = ActionScripts.for(invocation, reachable(request.imagesDir));
    const streams = await StreamRequest.for(invocation, places);
    const restored = await restore(invocation, streams?.with(request) ?? request, {
      places,
      shown: streams?.places ?? places,
      scripts,
    }).finally(() => streams?.release());
    pidFile?.write(restored.pid);
    return restored;
  } finally {
    pidFile?.close();
  }
}

/** @param shown the images with the program's streams as they will be. */
async function restore(
  invocation: Invocation,
  request: RestoreOptions,
  {
    places,
    shown,
    scripts,
  }: { readonly places: Places; readonly shown: Places; readonly scripts: ActionScripts | undefined },
): Promise<Restored> {
  const files = await RestoredFiles.for(invocation, shown.images);
  try {
    const terminal = await TerminalRequest.for(invocation, shown);
    const ask = asking(invocation, places, scripts);
    const asked = () => (terminal ? terminal.ask(request, ask) : ask(request));
    const { result, warnings } = files ? await files.ask(asked) : { result: await asked(), warnings: [] };
    return { terminal, pid: result.pid, warnings };
  } finally {
    files?.release();
  }
}

function asking(
  invocation: Invocation,
  { images }: Places,
  scripts: ActionScripts | undefined,
): (request: RestoreOptions) => Promise<{ readonly pid: number }> {
  const client = invocation.client();
  const pages = imageBytes(images).pages;
  const pids = pidsOfImages(images);
  return (request) =>
    watch(
      invocation,
      scripts,
      { total: () => pages, now: () => Math.min(memoryOf(pids), pages), end: () => pages },
      (notifications) =>
        client.restore({ ...request, notifications: { ...request.notifications, ...notifications } }),
    );
}
