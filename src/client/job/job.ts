/** A job for programs: criuctl changes it, and its files tell about it. */
import { resolve } from 'node:path';
import { jobsHome } from '../../job/home.ts';
import { faultOfName } from '../../job/name.ts';
import { atRest } from '../../job/rest.ts';
import type { Answer } from './answer.ts';
import type { JobEvent } from './changes.ts';
import { type Asked, checkedEnvironment, ownEnvironment, text, wordsFor } from './command-line.ts';
import { ask } from './criuctl.ts';
import { eventsOf } from './events.ts';
import { aborted, fileError, JobError } from './job-error.ts';
import { isGone, lookAt, noSuchJob, requireJob } from './look.ts';
import { type JobStatus, statusOf } from './status.ts';

/** The place of jobs, and the program that changes them. */
export interface JobOptions {
  /** criuctl: a name, which is looked for in the absolute directories of PATH, or a path. Default: `criuctl`. */
  readonly criuctl?: string | undefined;
  /**
   * The directory of jobs, for jobs that `criuctl run --foreground --dir` has begun. Such a job is not started or resumed here, because a
   * unit of systemd's finds its job in the usual directory only. Default: the usual directory, `~/.local/state/criu`, for root
   * `/var/lib/criu`. As root, name only a directory that root alone can write.
   */
  readonly dir?: string | undefined;
}

/** For every call that may last. */
export interface JobCallOptions {
  /**
   * Its abort interrupts criuctl, and CRIU rolls back. The call rejects with `ABORTED` when criuctl has ended. An abort that comes too late,
   * as for a start that systemd has begun, changes nothing: the call resolves.
   */
  readonly signal?: AbortSignal | undefined;
}

/** For {@link Job.run}. Of a job that is there already, only `every` and `keep` change; a new value counts from now on. */
export interface JobRunOptions extends JobCallOptions {
  /** The working directory of the command. Default: that of this process. */
  readonly directory?: string | undefined;
  /**
   * The whole environment of the command. criuctl has it, too, so a variable that Node reads, as NODE_OPTIONS, is also one for criuctl.
   * Default: that of this process.
   */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** A regular file to read as standard input, from its beginning, relative to `directory`. Default: `/dev/null`. */
  readonly stdin?: string | undefined;
  /** Whole seconds between checkpoints, or `auto`: by their cost. Default: no checkpoints by time. */
  readonly every?: number | 'auto' | undefined;
  /** The number of checkpoints that stay, at least 1. Default: 3. */
  readonly keep?: number | undefined;
  /** A resume puts files that the command appends to back to their sizes at the checkpoint. Default: false. */
  readonly restoreFiles?: boolean | undefined;
}

/** For {@link Job.resume}. */
export interface JobResumeOptions extends JobCallOptions {
  /** The number of an older checkpoint to go on from. Default: the latest. */
  readonly from?: number | undefined;
}

/** For {@link Job.events}. */
export interface JobEventsOptions {
  /** Its abort ends the events. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Looks at the job after this many seconds, too: for a directory that other machines change over a network file system, which the kernel does
   * not tell. Default: only after a change.
   */
  readonly lookEvery?: number | undefined;
}

/** For {@link Job.list}. */
export type JobListOptions = JobOptions & JobCallOptions;

/** A job after a call. */
export interface JobResult extends JobStatus {
  /** Sentences of criuctl's for a person; often none. */
  readonly warnings: readonly string[];
}

/** A checkpoint that was taken. */
export interface Checkpoint {
  readonly checkpoint: number;
  /** The checkpoint that has the memory which has not changed since; null if this one has all of it. */
  readonly parent: number | null;
  /** The size of its images. */
  readonly bytes: number;
  /** Microseconds for which the job stood still; null if CRIU has not told it. */
  readonly frozenUsec: number | null;
  /** The directory of its images. */
  readonly imagesDir: string;
  /** Sentences of criuctl's for a person; often none. */
  readonly warnings: readonly string[];
}

/** A job of {@link Job.list}. */
export interface ListedJob extends JobStatus {
  /** Its argv. */
  readonly command: readonly string[];
  /** The time of its latest checkpoint in ISO 8601, or null. */
  readonly lastCheckpoint: string | null;
  /** The size of its latest checkpoint, or null. */
  readonly bytes: number | null;
  /** Microseconds for which its latest checkpoint held it up, or null. */
  readonly frozenUsec: number | null;
  /** The time of the next checkpoint in ISO 8601; null if there is none, or if it is not known. */
  readonly next: string | null;
}

/** A job of {@link Job.list} whose files cannot be read. */
export interface UnreadableJob {
  readonly job: string;
  /** A sentence with the reason. */
  readonly error: string;
}

/**
 * A job, whether it is there already or not. The object holds nothing between calls, and several objects, processes and criuctl may use one
 * job at the same time.
 *
 * Every method rejects with a {@link JobError}: `ABORTED` for a signal; `DIRECTORY` if there is no such job, except for {@link run}; and for
 * methods that execute criuctl `INVALID`, `CRIUCTL`, `UNREACHABLE`, `REFUSED` and `FAILED`.
 *
 * @example
 * const job = new Job('sim');
 * await job.run(['./sim', 'input.dat'], { directory: '/home/me/sim', every: 600 });
 * const { state, status } = await job.wait();
 */
export class Job {
  /** Its name. */
  readonly name: string;
  readonly #options: JobOptions;

  /**
   * @param name has up to 64 letters, digits, dots, underscores and dashes, and begins with a letter or digit.
   * @throws JobError `INVALID`
   */
  constructor(name: string, options: JobOptions = {}) {
    const fault = typeof name === 'string' ? faultOfName(name) : 'is no text';
    if (fault !== undefined) throw new JobError('INVALID', `${JSON.stringify(name)} ${fault}`);
    this.name = name;
    this.#options = absolute(options);
  }

  /**
   * Starts the job, or goes on with it from its last checkpoint; the same call may be made any number of times. It resolves when the job
   * runs, at once if it runs already or has finished. The command never runs twice at once.
   *
   * The job is a unit of systemd's (`criu-job@NAME.service`), outlives this process, and has its umask.
   * @param command argv. A program without a slash is looked for in the PATH of `env`.
   * @throws JobError `REFUSED` if the job has another command, directory or standard input, or runs on another machine
   */
  async run(command: readonly string[], options: JobRunOptions = {}): Promise<JobResult> {
    const { env = process.env, stdin, every, keep, restoreFiles, signal } = options;
    const directory = resolved('directory', options.directory ?? '.');
    const words = {
      stdin: stdin === undefined ? undefined : resolve(directory, text('stdin', stdin)),
      every,
      keep,
      restoreFiles,
    };
    const asked = { verb: 'run', command, options: words } as const;
    return resultOf(await this.#ask(asked, signal, directory, checkedEnvironment(env)));
  }

  /** Takes a checkpoint of a job that runs, and lets it run on. After a failure it runs on, too, with the checkpoints that it had. */
  async checkpoint(options: JobCallOptions = {}): Promise<Checkpoint> {
    return checkpointOf(await this.#ask({ verb: 'checkpoint' }, options.signal));
  }

  /**
   * Takes a checkpoint of the job, and ends it; it stays so over a reboot. After a failure it runs on.
   * @returns undefined if the job did not run, and is as it was.
   */
  async suspend(options: JobCallOptions = {}): Promise<Checkpoint | undefined> {
    const answer = await this.#ask({ verb: 'suspend' }, options.signal);
    return answer.json.checkpoint === undefined ? undefined : checkpointOf(answer);
  }

  /**
   * Goes on with the job from a checkpoint; resolves when it runs, or at once if it runs already or has finished.
   * @throws JobError `REFUSED` with `from`, if the job runs or has no such checkpoint
   */
  async resume({ from, signal }: JobResumeOptions = {}): Promise<JobResult> {
    return resultOf(await this.#ask({ verb: 'resume', from }, signal));
  }

  /** Removes a job that does not run, with its checkpoints and its output. */
  async remove(options: JobCallOptions = {}): Promise<void> {
    await this.#ask({ verb: 'remove' }, options.signal);
  }

  /**
   * Resolves when the job does not run on this machine any more, with what has become of it: `finished` with its status, `suspended` or
   * `interrupted`; at once if it does not run. Needs no criuctl.
   */
  async wait({ signal }: JobCallOptions = {}): Promise<JobStatus> {
    if (signal?.aborted) throw aborted(signal);
    const home = homeOf(this.#options);
    const job = requireJob(home, this.name);
    try {
      return statusOf(job, await atRest(job, signal ?? new AbortController().signal));
    } catch (error) {
      if (signal?.aborted) throw aborted(signal);
      throw isGone(error) ? noSuchJob(home, this.name) : fileError(job.path, error);
    }
  }

  /** The job now. Reads a few small files at once; needs no criuctl. */
  async state(): Promise<JobStatus> {
    const home = homeOf(this.#options);
    const { job } = lookAt(home, this.name);
    if (!job) throw noSuchJob(home, this.name);
    return job;
  }

  /**
   * What becomes of the job, whoever does it: first the job as it is, then each change, until the signal is aborted or the loop is left. A job
   * that is not there, not yet or not any more, is `absent`, and may come.
   *
   * Each event comes from a look at the job's files after the kernel has told a change. The last state is always told; states that follow
   * each other faster than they are looked at may become one. Needs no criuctl.
   *
   * @throws JobError `DIRECTORY`, from the loop, if the job's files cannot be read or watched
   * @example
   * for await (const event of job.events({ signal })) {
   *   if (event.type === 'checkpoint') console.log(`checkpoint ${event.checkpoint}`);
   *   if (event.type === 'state' && event.job.state === 'finished') break;
   * }
   */
  async *events({ signal, lookEvery }: JobEventsOptions = {}): AsyncGenerator<JobEvent, void, void> {
    yield* eventsOf({ home: homeOf(this.#options), name: this.name }, signal, lookEvery);
  }

  /** All jobs of this user, sorted by name. */
  static async list({ signal, ...options }: JobListOptions = {}): Promise<(ListedJob | UnreadableJob)[]> {
    const { json } = await askFor({ verb: 'jobs' }, '', absolute(options), signal);
    if (!Array.isArray(json.jobs)) throw otherVersion('jobs');
    return json.jobs;
  }

  #ask(
    asked: Asked,
    signal?: AbortSignal,
    directory?: string,
    environment?: NodeJS.ProcessEnv,
  ): Promise<Answer> {
    return askFor(asked, this.name, this.#options, signal, directory, environment);
  }
}

function askFor(
  asked: Asked,
  job: string,
  { criuctl = 'criuctl', dir }: JobOptions,
  signal: AbortSignal | undefined,
  directory = '/',
  environment = ownEnvironment(process.env),
): Promise<Answer> {
  const words = wordsFor(asked, job, dir);
  return ask({ criuctl, verb: asked.verb, job, words, directory, environment, signal });
}

/** This process may change its working directory later. */
function absolute({ criuctl = 'criuctl', dir }: JobOptions): JobOptions {
  return {
    criuctl: text('criuctl', criuctl).includes('/') ? resolved('criuctl', criuctl) : criuctl,
    dir: dir === undefined ? undefined : resolved('dir', dir),
  };
}

/** @throws JobError also if the working directory was removed */
function resolved(option: string, path: string): string {
  text(option, path);
  try {
    return resolve(path);
  } catch (error) {
    throw fileError('The working directory', error);
  }
}

/** @throws JobError for a user without an entry in passwd(5) */
function homeOf({ dir }: JobOptions): string {
  try {
    return dir ?? jobsHome(process.geteuid?.() ?? -1);
  } catch (error) {
    throw fileError('The home directory of this user', error);
  }
}

/** Without fields of the command line. */
function resultOf({ json: { verb, ...status }, warnings }: Answer): JobResult {
  if (typeof status.state !== 'string') throw otherVersion(String(verb));
  return { ...(status as unknown as JobStatus), warnings };
}

function checkpointOf({ json, warnings }: Answer): Checkpoint {
  const { checkpoint, parent, bytes, frozenUsec, imagesDir, verb } = json as unknown as Checkpoint & {
    verb: string;
  };
  if (typeof checkpoint !== 'number' || typeof imagesDir !== 'string') throw otherVersion(verb);
  return { checkpoint, parent, bytes, frozenUsec: frozenUsec ?? null, imagesDir, warnings };
}

function otherVersion(verb: string): JobError {
  return new JobError(
    'CRIUCTL',
    `criuctl ${verb} has answered in another way than this version of criuctl does`,
  );
}
