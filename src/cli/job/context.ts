/** Shared by the verbs of jobs: the command line, the directory of jobs, and criuctl's own dump and restore. */

import { closeSync, fstatSync, lstatSync } from 'node:fs';
import { join } from 'node:path';
import type { DumpStatistics } from '../../client/statistics.ts';
import { jobsHome } from '../../job/home.ts';
import { Job } from '../../job/job.ts';
import { faultOfName } from '../../job/name.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Explanation } from '../explain.ts';
import { list } from '../gone.ts';
import { type Invocation, isObstacle, Obstacle, type Outcome } from '../invocation.ts';
import type { NeededOptions } from '../look-first.ts';
import { Mounts } from '../mounts.ts';
import { follow, writtenByOthers } from '../way.ts';
import type { OwnTerminal } from './standard-streams.ts';

/** Verbs and looks of criuctl's other bundles. */
export interface Tools {
  dump(invocation: Invocation): Promise<Outcome>;
  restore(invocation: Invocation): Promise<Outcome>;
  /** Whether the job's files are as this restore needs them. */
  filesFit(invocation: Invocation): Promise<boolean | undefined>;
  explain(error: unknown, invocation: Invocation): Promise<Explanation>;
  /** @throws Obstacle if the tree would not come back. */
  look(pid: number, pty: boolean): Promise<NeededOptions>;
  /** A process that outlives criuctl holds the terminal of a program. @throws Obstacle */
  keepTerminal(pid: number, terminal: OwnTerminal): Promise<void>;
  /** Faults of the images themselves, each as a sentence. */
  faultsOf(directory: string): Promise<readonly string[]>;
  /** CRIU's statistics about the dump of this directory. */
  statistics(directory: string): Promise<DumpStatistics | undefined>;
}

export interface Context {
  readonly invocation: Invocation;
  readonly tools: Tools;
  readonly home: string;
}

export const uid = process.geteuid?.() ?? -1;

/** @throws Obstacle for root, if others decide what is in the directory. */
export function contextOf(invocation: Invocation, tools: Tools): Context {
  const { job, trustImages } = invocation.own;
  if (uid === 0 && job.dir !== undefined && !trustImages) requireRoots(job.dir);
  return { invocation, tools, home: job.dir ?? jobsHome(uid) };
}

/** A job's directory has the program that its next start executes. */
function requireRoots(directory: string): void {
  const way = attempt(directory, () => follow(directory, process.cwd(), new Mounts()));
  const reason = 'reason' in way ? way.reason : writtenByOthers(way.path, fstatSync(way.fd));
  if ('fd' in way) closeSync(way.fd);
  if (reason === undefined) return;
  throw new Obstacle(
    exitCodes.refused,
    `--dir refused: ${reason}, and whoever writes there decides what root runs`,
    'Name a directory that only root can write, or say --trust-images',
  );
}

/** @throws Obstacle */
export function nameOf({ action = '' }: Invocation): string {
  const fault = faultOfName(action);
  if (fault !== undefined) throw new Obstacle(exitCodes.usage, `${JSON.stringify(action)} ${fault}`);
  return action;
}

/** @throws Obstacle if there is no such job. */
export function jobOf(context: Context): Job {
  const { invocation, home } = context;
  const name = nameOf(invocation);
  const job = attempt(home, () => Job.find(home, name, invocation.own.trustImages));
  if (!job) throw new NoSuchJob(context);
  return job;
}

/**
 * The job of a unit.
 * @returns undefined if its directory was removed. Other files beside it show that no file system is missing there, as one that is
 * mounted later.
 * @throws Obstacle
 */
export function jobOfUnit(context: Context): Job | undefined {
  const { home, invocation } = context;
  const isRemoved = list(home).length > 0 && !isThere(join(home, nameOf(invocation)));
  return isRemoved ? undefined : jobOf(context);
}

/** A link to nothing leads to a file system that is not mounted yet, perhaps. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

export class NoSuchJob extends Obstacle {
  constructor({ invocation: { action }, home }: Context) {
    super(
      exitCodes.directory,
      `There is no job ${action} in ${home}`,
      'See criuctl jobs; criuctl run NAME -- COMMAND starts one',
    );
  }
}

/** @throws Obstacle for an error of the file system. */
export function attempt<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined)
      throw new Obstacle(exitCodes.failed, `The job in ${path} cannot be read: ${message}`);
    throw new Obstacle(exitCodes.directory, `${path} cannot be used: ${message.split(', ')[0]}`);
  }
}

/** The sentence of a failure, without its advice. */
export async function sentenceOf({ tools, invocation }: Context, error: unknown): Promise<string> {
  const { message, lines } = await tools.explain(error, invocation);
  // The sentence of an obstacle is whole, and ends with a command to copy, perhaps.
  if (isObstacle(error)) return message;
  const line = lines.find((each) => !message.includes(each));
  return line === undefined ? message : `${message}: ${line.trim()}`;
}

/** A signal to criuctl interrupts no operation. */
export function withoutInterruption(context: Context): Context {
  return { ...context, invocation: { ...context.invocation, signal: new AbortController().signal } };
}

export function warn(sentence: string): void {
  process.stderr.write(`criuctl: warning: ${sentence}\n`);
}
