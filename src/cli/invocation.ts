/** The parsed command line, and the outcome of a verb. */
import type { CriuClient } from '../client/client.ts';
import type { AnyOptions } from '../client/options.ts';
import type { WrittenFile } from './files/written-files.ts';
import type { Verb } from './options/row.ts';

/** Options that criuctl uses itself, and does not send. */
export interface OwnOptions {
  readonly json: boolean;
  /** Undefined for the usual address of this machine's service. */
  readonly service: string | undefined;
  readonly trustImages: boolean;
  /** A dump may end a tree that would not come back. */
  readonly force: boolean;
  /** A restore of images that are incomplete is left to CRIU. */
  readonly noVerify: boolean;
  /** A dump may replace the images of an earlier one. */
  readonly replace: boolean;
  /** The manifest of a dump has digests of pages. */
  readonly digestPages: boolean;
  /** The pages of a dump are compressed when it is complete. */
  readonly compress: boolean;
  /** A dump comes after this many pre-dumps at most; undefined for a plain dump. */
  readonly live: number | undefined;
  readonly displayStats: boolean;
  readonly pidfile: string | undefined;
  /** The file for the result of a request from outside of the tree, empty for the usual one. */
  readonly detach: string | undefined;
  /** `here`, `none`, or a file for the output. */
  readonly terminal: string | undefined;
  /** Files in the places of the program's standard streams, or `-` for criuctl's own. */
  readonly stdin: string | undefined;
  readonly stdout: string | undefined;
  readonly stderr: string | undefined;
  /** Programs that run at CRIU's steps. */
  readonly actionScripts: readonly string[];
  /** A restore may put the program's files back to what they were at the dump. */
  readonly restoreFiles: boolean;
  /** A restore lasts until the tree ends. */
  readonly wait: boolean;
  /** The number of dumps, or of checkpoints of a job, that are kept. */
  readonly keep: number | undefined;
  /** Nothing is removed. */
  readonly dryRun: boolean;
  /** Called at the end of a dump, while the tree is still frozen. An error makes CRIU let it run on. */
  readonly onFrozen?: () => void;
  /** What a job knows about its files: a restore puts back those in its directory without being asked for. */
  readonly jobFiles?: { readonly within: string; readonly written: readonly WrittenFile[] };
  /** The number of requests that `status` shows, or lines that `logs` does. */
  readonly lines: number;
  /** For jobs. */
  readonly job: JobOptions;
}

export interface JobOptions {
  /** The directory of jobs; undefined for the usual one. */
  readonly dir: string | undefined;
  /** Seconds between checkpoints, or by their cost. */
  readonly every: number | 'auto' | undefined;
  readonly foreground: boolean;
  /** Signals that suspend a job in the foreground. */
  readonly onSignal: NodeJS.Signals | undefined;
  /** The exit status after that. */
  readonly suspendedStatus: number;
  /** In seconds. */
  readonly timeLimit: number | undefined;
  /** A checkpoint. */
  readonly from: number | undefined;
  readonly follow: boolean;
  /** Of `criu-job@.service`. */
  readonly inUnit: boolean;
  /** Its standard streams are a terminal. */
  readonly pty: boolean;
  /** The machine of its last run is gone for good. */
  readonly takeOver: boolean;
}

export interface Invocation {
  readonly verb: Verb;
  /** `dump` or `check` of cpuinfo, an action of images, the name of a job. */
  readonly action?: string | undefined;
  /** The directory or file of images. */
  readonly path?: string | undefined;
  /** A directory to compare it with. */
  readonly other?: string | undefined;
  /** The command of a job. */
  readonly command?: readonly string[] | undefined;
  /** For the request. */
  readonly options: AnyOptions;
  readonly own: OwnOptions;
  readonly signal: AbortSignal;
  /** Standard error is a terminal, and the output is not JSON, so a person can see progress. */
  readonly watched: boolean;
  /** Connects on first use: `status` needs only systemd. */
  client(): CriuClient;
}

/** The outcome of a verb, for the three kinds of reader. */
export interface Outcome {
  /** For a person at a terminal. */
  readonly sentence: string;
  /** For a shell: the bare result, or empty where the exit status is the whole answer. */
  readonly value: string;
  /** For a program (--json). Undefined where the verb has printed its result itself. */
  readonly json: object | undefined;
  /** For a person at a terminal, or with --display-stats. */
  readonly summary?: readonly string[];
  /** Sentences for every reader, on standard error. */
  readonly warnings?: readonly string[];
  /** Present where scripts need the answer as the exit status; otherwise 0. */
  readonly exitCode?: number;
}

/** The parts of a failure that a program reads. */
export interface FailureDetails {
  readonly code: string;
  readonly errno: string | undefined;
  /** CRIU's error lines. */
  readonly lines: readonly string[];
  /** CRIU's log. */
  readonly log: string | undefined;
}

/** An obstacle that criuctl itself finds before it sends a request. */
export class Obstacle extends Error {
  override readonly name = 'Obstacle';
  readonly exitCode: number;
  readonly advice: readonly string[];
  /** Present if a failed request has shown it. */
  readonly details: FailureDetails | undefined = undefined;

  constructor(exitCode: number, message: string, ...advice: string[]) {
    super(message);
    this.exitCode = exitCode;
    this.advice = advice;
  }
}

/** An obstacle that a failed request has shown: its sentence says more, and the failure's details stay. */
export class ShownObstacle extends Obstacle {
  override readonly details: FailureDetails;

  constructor(exitCode: number, details: FailureDetails, message: string, ...advice: readonly string[]) {
    super(exitCode, message, ...advice);
    this.details = details;
  }
}

/** Also for an obstacle of another bundle, which has a class of its own. */
export function isObstacle(error: unknown): error is Obstacle {
  return error instanceof Error && error.name === 'Obstacle';
}
