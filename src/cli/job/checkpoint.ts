/** A checkpoint of a job: made aside, looked at, and only then counted. */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DumpStatistics } from '../../client/statistics.ts';
import { asideName, chainOf, numberOfAside, superfluous } from '../../job/checkpoints.ts';
import { syncDirectory } from '../../job/files.ts';
import { goesOnFrom, leastMemory } from '../../job/increment.ts';
import { type Job, readNote, writeNote } from '../../job/job.ts';
import { kernelTracksMemory } from '../../proc/memory-tracking.ts';
import { exitCodes } from '../exit-codes.ts';
import { imageBytes, memoryOfTree } from '../images.ts';
import { Obstacle } from '../invocation.ts';
import type { NeededOptions } from '../look-first.ts';
import { type Context, sentenceOf } from './context.ts';
import { areFilesNoted, noteFiles, OpenFiles } from './files.ts';
import { isLetGo } from './let-go.ts';
import { areMarksLeft, leaveMarks } from './marks.ts';

export interface Taken {
  readonly number: number;
  /** The checkpoint that has the memory which has not changed since; undefined if this one has all. */
  readonly parent: number | undefined;
  readonly bytes: number;
  /** Microseconds; undefined if CRIU has written no statistics. */
  readonly frozenUsec: number | undefined;
  readonly warnings: readonly string[];
}

/**
 * Under the job's lock.
 * @param ends the job is suspended by it; else it runs on.
 * @throws Obstacle, CriuError: the job runs on, and its earlier checkpoints are as they were.
 */
export async function takeCheckpoint(context: Context, job: Job, ends: boolean): Promise<Taken> {
  const { state } = job;
  if (state.is !== 'running') {
    throw new Obstacle(exitCodes.refused, `CHECKPOINT refused: job ${job.name} does not run`);
  }
  try {
    const taken = await take(context, job, state.pid, ends);
    job.noteFailure(undefined);
    return taken;
  } catch (error) {
    job.noteFailure(await sentenceOf(context, error));
    throw error;
  }
}

async function take(context: Context, job: Job, pid: number, ends: boolean): Promise<Taken> {
  const { tools } = context;
  const needed = await tools.look(pid, job.spec!.pty);
  await sortAsides(context, job);
  const way = await wayOf(context, job, pid);
  try {
    return await write(context, job, pid, ends, needed, way);
  } catch (error) {
    // Whatever made this increment impossible, all of the memory may be in one directory still.
    if (way.parent === undefined || job.state.is !== 'running' || asidesOf(job).length > 0) throw error;
    return write(context, job, pid, ends, needed, { ...way, parent: undefined });
  }
}

interface Way {
  /** Changes of memory are tracked from this checkpoint on. */
  readonly tracks: boolean;
  /** The checkpoint that has the memory which has not changed since. */
  readonly parent: number | undefined;
}

async function wayOf({ tools }: Context, job: Job, pid: number): Promise<Way> {
  if (!kernelTracksMemory() || memoryOfTree(pid) < leastMemory) return { tracks: false, parent: undefined };
  const { latest } = job;
  if (latest === undefined) return { tracks: true, parent: undefined };
  const chain = chainOf(latest, job.parentOf).map((number) => imageBytes(job.checkpoint(number)).pages);
  const isWhole = async (): Promise<boolean> => (await tools.faultsOf(job.checkpoint(latest))).length === 0;
  const goesOn = goesOnFrom(chain, areMarksLeft(pid, job.checkpoint(latest))) && (await isWhole());
  return { tracks: true, parent: goesOn ? latest : undefined };
}

async function write(
  context: Context,
  job: Job,
  pid: number,
  ends: boolean,
  needed: NeededOptions,
  { tracks, parent }: Way,
): Promise<Taken> {
  const { invocation, tools } = context;
  const number = job.nextCheckpoint;
  const aside = job.at('checkpoints', asideName(number));
  mkdirSync(aside, { mode: 0o700 });
  const files = new OpenFiles();
  const warnings: string[] = [];
  let dumped: { readonly bytes: number; readonly statistics?: DumpStatistics; readonly warning?: string };
  try {
    writeNote(aside, { format: 1, number, ends, restore: needed.restore });
    const outcome = await tools.dump({
      ...invocation,
      verb: 'dump',
      options: {
        ...needed.dump,
        pid,
        imagesDir: aside,
        leaveRunning: !ends,
        trackMem: tracks && (!ends || parent !== undefined),
        ...(parent !== undefined && { parentImg: join('..', `${parent}`) }),
      },
      // The look was a moment ago.
      own: {
        ...invocation.own,
        json: true,
        force: true,
        live: undefined,
        replace: false,
        detach: undefined,
        onFrozen: () => {
          noteFiles(pid, aside, files);
          if (tracks && !ends) leaveMarks(pid, aside);
        },
      },
      watched: false,
    });
    dumped = outcome.json as typeof dumped;
    const faults = await tools.faultsOf(aside);
    if (faults.length > 0) throw new Obstacle(exitCodes.failed, `The checkpoint is incomplete: ${faults[0]}`);
    const reason = await files.sync();
    if (reason !== undefined)
      warnings.push(`what job ${job.name} has written may be lost with a power cut: ${reason}`);
  } catch (error) {
    // Processes that this dump has ended are in these images. The next criuctl sorts out what cannot be told by now.
    if (!(await isLetGo(pid))) throw error;
    if (job.state.is === 'running') rmSync(aside, { recursive: true, force: true });
    else await sortAsides(context, job);
    throw error;
  } finally {
    files.close();
  }
  keep(job, aside, number);
  prune(job, number);
  return {
    number,
    parent,
    bytes: dumped.bytes,
    frozenUsec: dumped.statistics?.frozenUsec,
    warnings: [
      ...warnings,
      ...(dumped.warning === undefined ? [] : [dumped.warning]),
      ...(needed.names.length === 0 ? [] : [`Job ${job.name} comes back with ${needed.names.join(' ')}`]),
    ],
  };
}

/** Images of checkpoints without a name, the oldest first. */
function asidesOf(job: Job): number[] {
  return job.checkpointNames.flatMap((name) => numberOfAside(name) ?? []).sort((one, other) => one - other);
}

/** Leftovers of a killed criuctl: complete images become a checkpoint, others go. */
export async function sortAsides({ tools }: Context, job: Job): Promise<void> {
  for (const number of asidesOf(job)) {
    const aside = job.at('checkpoints', asideName(number));
    const isNoted = readNote(aside) !== undefined && areFilesNoted(aside);
    const whole = isNoted && (await tools.faultsOf(aside)).length === 0;
    if (whole && !job.checkpoints.includes(number)) keep(job, aside, number);
    else rmSync(aside, { recursive: true, force: true });
  }
}

/**
 * The images are on the disk before a name says that they are complete. The link leads to the
 * name before it is there, and is passed over: after a kill in between, the next criuctl gives the name.
 */
function keep(job: Job, aside: string, number: number): void {
  for (const name of readdirSync(aside)) {
    const fd = openSync(join(aside, name), 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
  syncDirectory(aside);
  if (number > Math.max(0, ...job.checkpoints)) job.latest = number;
  renameSync(aside, job.checkpoint(number));
  syncDirectory(job.at('checkpoints'));
}

function prune(job: Job, latest: number): void {
  const { keep: count } = job.spec!;
  for (const number of superfluous(job.checkpoints, count, latest, job.parentOf)) {
    // After a kill in the middle, the rest has no checkpoint's name.
    const going = job.at('checkpoints', `.old-${number}`);
    renameSync(job.checkpoint(number), going);
    rmSync(going, { recursive: true, force: true });
  }
  for (const name of job.checkpointNames) {
    if (name.startsWith('.old-')) rmSync(job.at('checkpoints', name), { recursive: true, force: true });
  }
}
