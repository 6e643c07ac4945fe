/** The error class of jobs. */

/**
 * The reasons for a failure:
 * - `INVALID`: arguments that cannot be passed on, or that criuctl does not take (exit code 2);
 * - `CRIUCTL`: criuctl cannot be executed, was killed, or has answered in another way than criuctl does;
 * - `DIRECTORY`: there is no such job, or a directory is missing or cannot be used (5);
 * - `UNREACHABLE`: there is no checkpoint service or no systemd for the job, or it may not be asked (4);
 * - `REFUSED`: the job runs already or elsewhere, has another command, or would not come back (3);
 * - `FAILED`: CRIU or systemd tried and failed (1);
 * - `ABORTED`: the signal of the call was aborted, and nothing was done (130). `cause` is its reason.
 */
export type JobErrorCode =
  | 'INVALID'
  | 'CRIUCTL'
  | 'DIRECTORY'
  | 'UNREACHABLE'
  | 'REFUSED'
  | 'FAILED'
  | 'ABORTED';

/** Details of a {@link JobError} besides its code and its sentence. */
export interface JobErrorDetails {
  readonly exitCode?: number | undefined;
  readonly advice?: readonly string[] | undefined;
  readonly errnoName?: string | undefined;
  readonly lines?: readonly string[] | undefined;
  readonly log?: string | undefined;
  readonly cause?: unknown;
}

/** A failed call. `message` is a sentence for a person. */
export class JobError extends Error {
  override readonly name = 'JobError';
  readonly code: JobErrorCode;
  /**
   * The exit status of criuctl(1), or the status that it would have had, if the error was found without it. Undefined if criuctl has
   * not ended by itself.
   */
  readonly exitCode: number | undefined;
  /** What to do, in sentences; often none. */
  readonly advice: readonly string[];
  /** The name of an errno(3), for example `ENOSPC`, if there is one. */
  readonly errnoName: string | undefined;
  /** Error lines of CRIU's log. */
  readonly lines: readonly string[];
  /** The path of CRIU's log, if it has error lines. */
  readonly log: string | undefined;

  constructor(code: JobErrorCode, message: string, details: JobErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.exitCode = details.exitCode ?? exitCodes[code];
    this.advice = details.advice ?? [];
    this.errnoName = details.errnoName;
    this.lines = details.lines ?? [];
    this.log = details.log;
  }
}

/** Tells whether a thrown value is a {@link JobError}, and has `code`, if `code` is given. */
export function isJobError(error: unknown, code?: JobErrorCode): error is JobError {
  return error instanceof JobError && (code === undefined || error.code === code);
}

/** Exit codes of criuctl(1). */
const exitCodes: Readonly<Partial<Record<JobErrorCode, number>>> = {
  FAILED: 1,
  INVALID: 2,
  REFUSED: 3,
  UNREACHABLE: 4,
  DIRECTORY: 5,
  ABORTED: 130,
};

/** @internal */
export function codeOf(exitCode: number): JobErrorCode {
  const [code] = Object.entries(exitCodes).find(([, each]) => each === exitCode) ?? [];
  return (code as JobErrorCode | undefined) ?? 'FAILED';
}

/** @internal */
export function aborted(signal: AbortSignal): JobError {
  return new JobError('ABORTED', 'The call was aborted', { cause: signal.reason });
}

/**
 * An error of a system call about the files of a job.
 * @internal
 */
export function fileError(path: string, error: unknown): JobError {
  const { code, message } = error as NodeJS.ErrnoException;
  // The texts of node:fs have the call and the path behind a comma.
  const sentence = code === undefined ? message : message.split(', ')[0];
  return new JobError('DIRECTORY', `${path} cannot be used: ${sentence}`, { errnoName: code, cause: error });
}
