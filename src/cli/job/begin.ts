/** Starts a job, or goes on with it from its newest good checkpoint. Never runs it twice. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readlinkSync, renameSync, statSync } from 'node:fs';
import { candidates } from '../../job/checkpoints.ts';
import type { Job } from '../../job/job.ts';
import { type RunRecord, recordOf } from '../../job/run-record.ts';
import { type JobState, nextStep } from '../../job/state.ts';
import { exitCodes } from '../exit-codes.ts';
import { read } from '../gone.ts';
import { type Invocation, isObstacle, Obstacle, ShownObstacle } from '../invocation.ts';
import { sortAsides } from './checkpoint.ts';
import { type Context, warn } from './context.ts';
import { readFiles } from './files.ts';
import { pidOf } from './json.ts';
import { membersOf } from './members.ts';
import { ownProgram } from './own-program.ts';
import { commandOf, type WayOn, wayPastFiles } from './past-files.ts';
import { filesOf, type StandardStreams, terminalOf } from './standard-streams.ts';

export type Begun =
  | { readonly did: 'started'; readonly pid: number }
  | { readonly did: 'resumed'; readonly pid: number; readonly from: number }
  | { readonly did: 'nothing'; readonly state: JobState };

/**
 * Under the job's lock.
 * @param watched this criuctl watches it; else it is a unit of systemd's.
 * @throws Obstacle, CriuError
 */
export async function begin(context: Context, job: Job, watched: boolean): Promise<Begun> {
  await findUnrecorded(context, job);
  const { state } = job;
  const step = nextStep(state);
  switch (step.does) {
    case 'nothing':
      return { did: 'nothing', state };
    case 'start':
      return { did: 'started', pid: await start(context, job, watched) };
    case 'resume':
      return { did: 'resumed', ...(await resume(context, job, watched)) };
  }
}

/** A criuctl that was killed in the middle may have left a job that runs, or images that are complete. */
async function findUnrecorded(context: Context, job: Job): Promise<void> {
  if (job.state.is === 'running') return;
  const pid = processOf(job);
  const run = pid === undefined ? undefined : recordOf(pid, job.latest, false);
  if (run) job.writeRun(run);
  else await sortAsides(context, job);
}

/** The process that executes the job's own copy of criu-job-root. */
function processOf(job: Job): number | undefined {
  const root = job.at('root');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/exe`) === root && recordOf(pid, undefined, false) !== undefined;
      } catch {
        return false;
      }
    });
}

async function start({ tools }: Context, job: Job, watched: boolean): Promise<number> {
  const spec = job.spec!;
  const root = job.placeRoot(ownProgram('criu-job-root'));
  job.forgetEnd();
  setAside(job);
  let streams: StandardStreams | undefined;
  try {
    streams = spec.pty ? terminalOf(job) : filesOf(job);
    const child = withUmask(spec.umask, () =>
      spawn(root, [job.at('end'), spec.program, ...spec.command], {
        cwd: spec.directory,
        env: Object.fromEntries(job.environment.map(nameAndValue)),
        // A session of its own, without the terminal of this criuctl.
        detached: true,
        stdio: [...streams!.descriptors],
      }),
    );
    const pid = await new Promise<number>((resolve, reject) => {
      child.once('spawn', () => resolve(child.pid!));
      child.once('error', reject);
    });
    child.unref();
    const run = recordOf(pid, undefined, watched);
    // A command that has ended by now has left its end.
    if (run) remember(job, run);
    if (streams.terminal) await tools.keepTerminal(pid, streams.terminal).catch(endsTree(pid));
    return pid;
  } catch (error) {
    if (isObstacle(error)) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Obstacle(
      exitCodes.failed,
      existsSync(spec.directory)
        ? `Job ${job.name} cannot be started: ${root}: ${code ?? message}`
        : `Job ${job.name} cannot be started: its directory ${spec.directory} is gone`,
      code === 'EACCES'
        ? 'A file system that is mounted with noexec holds no jobs: name another directory with --dir'
        : '',
    );
  } finally {
    streams?.close();
  }
}

/** The umask of this process is its children's. */
function withUmask<T>(umask: number, work: () => T): T {
  const before = process.umask(umask);
  try {
    return work();
  } finally {
    process.umask(before);
  }
}

/** A tree whose terminal would be gone is ended. */
function endsTree(root: number): (error: unknown) => never {
  return (error) => {
    endTree(root);
    throw error;
  };
}

/** The output of an earlier start, of which nothing else was kept. */
function setAside(job: Job): void {
  for (const name of ['stdout', 'stderr']) {
    if (!statSync(job.at(name), { throwIfNoEntry: false })?.size) continue;
    for (let number = 1; ; number += 1) {
      const kept = job.at(`${name}.before-${number}`);
      if (existsSync(kept)) continue;
      renameSync(job.at(name), kept);
      break;
    }
  }
}

function nameAndValue(entry: string): [string, string] {
  const at = entry.indexOf('=');
  return [entry.slice(0, at), entry.slice(at + 1)];
}

async function resume(context: Context, job: Job, watched: boolean): Promise<{ pid: number; from: number }> {
  const { invocation, tools } = context;
  const from = await newestGood(context, job);
  const restoreFiles = job.spec!.restoreFiles || invocation.own.restoreFiles;
  job.forgetEnd();
  const outcome = await tools
    .restore(restoreOf(invocation, job, { from, restoreFiles }))
    .catch((error) => nameWayOn(context, job, { from, restoreFiles }, error));
  for (const warning of outcome.warnings ?? []) warn(warning);
  const pid = pidOf(outcome.json);
  const run = recordOf(pid, from, watched);
  if (run) remember(job, run);
  return { pid, from };
}

/** Sentences about files that are gone, or have another size or mode. */
const aboutFiles = /\bat the dump\b|put back/;

/** @throws the error, with the way past files that are not as the resume needs them. */
async function nameWayOn(context: Context, job: Job, failed: WayOn, error: unknown): Promise<never> {
  const { invocation, tools } = context;
  const explanation = await tools.explain(error, restoreOf(invocation, job, failed));
  // Other failures, as a pid that is taken, would meet the older checkpoint, too.
  if (!aboutFiles.test(explanation.message)) throw error;
  const older = candidates(job.checkpoints, failed.from).slice(1);
  const way = await wayPastFiles(failed, older, async (each) => {
    const fit = await tools.filesFit(restoreOf(invocation, job, each));
    if (!fit) return fit;
    return (await tools.faultsOf(job.checkpoint(each.from))).length === 0;
  });
  if (!way) throw error;
  throw new ShownObstacle(
    explanation.exitCode,
    explanation,
    `${explanation.message}; its files fit a resume from checkpoint ${way.from}: ${commandOf(job.name, way, failed, invocation.own)}`,
    ...explanation.advice,
  );
}

function restoreOf(invocation: Invocation, job: Job, { from, restoreFiles }: WayOn): Invocation {
  const images = job.checkpoint(from);
  return {
    ...invocation,
    verb: 'restore',
    options: { ...job.noteOf(from)?.restore, imagesDir: images },
    own: {
      ...invocation.own,
      json: true,
      restoreFiles,
      jobFiles: { within: job.path, written: readFiles(images) },
      terminal: job.spec!.pty ? job.at('stdout') : 'none',
      wait: false,
      pidfile: undefined,
      stdin: undefined,
      stdout: undefined,
      stderr: undefined,
    },
    watched: false,
  };
}

/** A job that no file tells of, as on a full disk, would be begun a second time: it is ended. Its checkpoints are there. */
function remember(job: Job, run: RunRecord): void {
  try {
    job.writeRun(run);
  } catch (error) {
    endTree(run.pid);
    throw error;
  }
}

/** @param root collects what the others leave, and stands still meanwhile. */
function endTree(root: number): void {
  signal(root, 'SIGSTOP');
  const mostRounds = 1000;
  for (let round = 0; round < mostRounds; round += 1) {
    // Those that have ended wait for the root, which is not to run any more.
    const others = membersOf(root).filter((pid) => pid !== root && !isZombie(pid));
    if (others.length === 0) break;
    for (const pid of others) signal(pid, 'SIGKILL');
  }
  signal(root, 'SIGKILL');
}

function isZombie(pid: number): boolean {
  return /^State:\t[ZX]/m.test(read(`/proc/${pid}/status`));
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}

/** @throws Obstacle if all are incomplete. */
async function newestGood({ tools }: Context, job: Job): Promise<number> {
  let first: string | undefined;
  for (const number of candidates(job.checkpoints, job.latest)) {
    const [fault] = await tools.faultsOf(job.checkpoint(number));
    if (fault === undefined) {
      if (first !== undefined) warn(`Job ${job.name} goes on from checkpoint ${number}: ${first}`);
      return number;
    }
    first ??= `checkpoint ${job.latest} is incomplete: ${fault}`;
  }
  throw new Obstacle(
    exitCodes.failed,
    `Job ${job.name} cannot go on: ${first ?? 'it has no checkpoint'}`,
    `Its files are in ${job.path}`,
  );
}
