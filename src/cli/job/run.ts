/** criuctl run: starts a job, or goes on with it. The same line may be typed any number of times. */
import { accessSync, constants, existsSync, realpathSync, statSync } from 'node:fs';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { defaultAddress } from '../../client/default-address.ts';
import { Job } from '../../job/job.ts';
import { isProgram } from '../../job/program.ts';
import { isSameWork, type JobSpec, specFormat } from '../../job/spec.ts';
import { exitCodes } from '../exit-codes.ts';
import { Obstacle, type Outcome, type OwnOptions } from '../invocation.ts';
import { attempt, type Context, nameOf, warn } from './context.ts';
import { stayWith } from './foreground.ts';
import { inUnit } from './in-unit.ts';
import { requireManager } from './manager.ts';

const usualKeep = 3;

export async function run(context: Context): Promise<Outcome> {
  const { invocation, home } = context;
  const {
    stdin,
    job: { foreground, pty },
  } = invocation.own;
  const name = nameOf(invocation);
  if (pty && (foreground || stdin !== undefined)) {
    throw new Obstacle(
      exitCodes.usage,
      `--pty goes without ${foreground ? '--foreground' : '--stdin'}: criuctl attach NAME gives such a job a terminal`,
    );
  }
  if (pty && /^\d+$/.test(name)) {
    throw new Obstacle(
      exitCodes.usage,
      `--pty needs a name with a letter: criuctl attach ${name} means a pid`,
    );
  }
  if (!foreground) {
    requireManager();
    requireUsualPlace(context);
  }
  if (!existsSync(invocation.own.service ?? defaultAddress))
    warn('there is no checkpoint service on this machine yet: systemctl enable --now criu.socket, as root');
  const { trustImages } = invocation.own;
  const known = attempt(home, () => Job.find(home, name, trustImages));
  const job = known ?? attempt(home, () => Job.make(home, name, trustImages));
  const lock = await job.lock(invocation.signal);
  try {
    writeWanted(context, job);
  } finally {
    lock.release();
  }
  return foreground ? stayWith(context, job) : inUnit(context, job);
}

/** A unit finds its job by the name alone. */
function requireUsualPlace({ invocation }: Context): void {
  if (invocation.own.job.dir === undefined) return;
  throw new Obstacle(
    exitCodes.usage,
    '--dir goes with --foreground: a unit of systemd’s finds its job in the usual directory',
    'Say --foreground, or make the usual directory a link to that one',
  );
}

function writeWanted({ invocation }: Context, job: Job): void {
  const { command, own } = invocation;
  const before = attempt(job.path, () => job.spec);
  const [first, ...rest] = command ?? [];
  if (first === undefined) {
    if (before && own.job.pty && !before.pty) {
      throw new Obstacle(
        exitCodes.refused,
        `Job ${job.name} was started without a terminal, and keeps its standard streams`,
      );
    }
    if (before) update(job, before, own);
    else throw new Obstacle(exitCodes.usage, `Which command? Say criuctl run ${job.name} -- COMMAND`);
    return;
  }
  const directory = process.cwd();
  const wanted: JobSpec = {
    format: specFormat,
    name: job.name,
    program: programOf(first),
    command: [first, ...rest],
    directory,
    umask: process.umask(),
    stdin: stdinOf(own.stdin),
    every: own.job.every,
    keep: own.keep ?? usualKeep,
    restoreFiles: own.restoreFiles,
    pty: own.job.pty,
  };
  if (before && !isSameWork(before, wanted)) {
    throw new Obstacle(
      exitCodes.refused,
      `Job ${job.name} has another command: ${before.command.join(' ')} in ${before.directory}${before.pty ? ', with --pty' : ''}`,
      `Choose another name; or remove it, with its checkpoints: criuctl remove ${job.name}`,
    );
  }
  if (before) {
    update(job, before, own);
    return;
  }
  job.writeEnvironment(process.env);
  job.writeSpec(wanted);
}

/** These may change while it runs. Its unit knows no more of them than this. */
export function update(job: Job, before: JobSpec, { keep, restoreFiles, job: { every } }: OwnOptions): void {
  if (every === undefined && keep === undefined && !restoreFiles) return;
  job.writeSpec({
    ...before,
    every: every ?? before.every,
    keep: keep ?? before.keep,
    restoreFiles: before.restoreFiles || restoreFiles,
  });
}

/** @returns an absolute path. @throws Obstacle */
function programOf(command: string): string {
  const places = command.includes('/')
    ? [resolve(command)]
    : (process.env.PATH ?? '/usr/bin:/bin').split(delimiter).map((place) => resolve(place, command));
  const found = places.find((place) => isProgram(place));
  if (found !== undefined) return found;
  throw new Obstacle(
    exitCodes.usage,
    `There is no program ${command}${command.includes('/') ? '' : ' in PATH'}`,
  );
}

function stdinOf(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    const path = realpathSync(isAbsolute(file) ? file : join(process.cwd(), file));
    accessSync(path, constants.R_OK);
    if (!statSync(path).isFile()) throw new Error('it is no file');
    return path;
  } catch (error) {
    throw new Obstacle(
      exitCodes.usage,
      `--stdin ${file} cannot be read: ${(error as Error).message.split(', ')[0]}`,
      'A job reads a file, or nothing: other inputs would be lost with a reboot',
    );
  }
}
