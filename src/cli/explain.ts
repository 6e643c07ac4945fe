/** Explains a failure for printing: the sentence, CRIU's error lines, its log, and advice. */
import { statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CriuError } from '../client/criu-error.ts';
import { defaultAddress } from '../client/default-address.ts';
import { statusField } from '../proc/status.ts';
import { ScriptError } from './action-script.ts';
import { advise } from './advice.ts';
import { errorLines } from './criu-log.ts';
import { FailedDump } from './destination.ts';
import { placesOf } from './directories.ts';
import { exitCodes } from './exit-codes.ts';
import { read } from './gone.ts';
import { type FailureDetails, type Invocation, isObstacle } from './invocation.ts';
import { lookAt, type Person } from './people.ts';
import { takenPid } from './taken-pid.ts';

export interface Explanation extends FailureDetails {
  readonly exitCode: number;
  readonly message: string;
  readonly advice: readonly string[];
}

/** An error that is neither a {@link CriuError} nor an {@link Obstacle} is a fault of criuctl, and is reported as such. */
export async function explain(error: unknown, invocation: Invocation): Promise<Explanation> {
  if (error instanceof FailedDump) {
    const explanation = await explain(error.cause, invocation);
    return { ...explanation, advice: [...error.notes, ...explanation.advice] };
  }
  if (isObstacle(error)) {
    const { exitCode, message, advice, details } = error;
    const { code, errno, lines, log } = details ?? ownObstacle;
    return { exitCode, message, code, errno, lines, log, advice };
  }
  if (!(error instanceof CriuError)) return isByAbort(error, invocation.signal) ? interrupted : fault(error);
  const { verb, own, options } = invocation;
  const lines = error.log === undefined ? [] : errorLines(error.log);
  const places = placesOf(options);
  const pid = options.pid;
  const isRoot = process.geteuid?.() === 0;
  const said = [error.criuMessage ?? '', ...lines];
  // The table is loaded for failures only.
  const { sentenceAbout } = await import('./failure-sentence.ts');
  const sentence =
    error.code === 'FAILED'
      ? await sentenceAbout(said, { verb, isRoot, pid, tracer: tracerOf(pid) })
      : undefined;
  return {
    exitCode: exitCodeOf(error),
    message: sentence ? `${failureOf(error.message)}: ${sentence.why}` : messageOf(error),
    code: error.code,
    errno: error.errnoName,
    lines,
    log: lines.length > 0 ? error.log : undefined,
    advice: advise({
      verb,
      code: error.code,
      errnoName: error.errnoName,
      criuMessage: error.criuMessage,
      lines,
      sentence,
      uid: process.geteuid?.() ?? -1,
      target: pid === undefined ? undefined : lookAt(pid),
      taken: verb === 'restore' ? takenPid(said, places.images) : undefined,
      noImages: verb === 'restore' && !hasImages(places.images) ? places.images : undefined,
      disk: fullDisk(error, lines, places.images),
      directory: places.images,
      address: own.service ?? defaultAddress,
      addressIsOurs: own.service === undefined,
    }),
  };
}

const ownObstacle: FailureDetails = { code: 'OBSTACLE', errno: undefined, lines: [], log: undefined };

function messageOf({ expected, cause, message }: CriuError): string {
  return cause instanceof ScriptError ? `${expected} failed: ${cause.message}` : message;
}

/** A criu is no obstacle: an engine that could not let go of the process traces it until it has ended, a moment after its reply. */
function tracerOf(pid: number | undefined): Person | undefined {
  const tracer = Number(statusField(read(`/proc/${pid}/status`), 'TracerPid') ?? 0);
  if (pid === undefined || tracer === 0) return undefined;
  const person = lookAt(tracer);
  return person?.name === 'criu' ? undefined : person;
}

/** `DUMP failed`, without CRIU's line. */
function failureOf(message: string): string {
  return /^[A-Z_]+ failed/.exec(message)?.[0] ?? message;
}

/** Before or after a request, as while it waits for another criuctl. */
const interrupted: Explanation = {
  exitCode: exitCodes.interrupted,
  message: 'Interrupted',
  code: 'ABORTED',
  errno: undefined,
  lines: [],
  log: undefined,
  advice: [],
};

function isByAbort(error: unknown, signal: AbortSignal): boolean {
  return (
    signal.aborted && (error === signal.reason || (error instanceof Error && error.name === 'AbortError'))
  );
}

function fault(error: unknown): Explanation {
  return {
    exitCode: exitCodes.failed,
    message: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    code: 'FAULT',
    errno: (error as NodeJS.ErrnoException | undefined)?.code,
    lines: [],
    log: undefined,
    advice: ['This is a fault of criuctl: please report it with this line and the command that led to it'],
  };
}

function exitCodeOf({ code, errnoName }: CriuError): number {
  switch (code) {
    case 'INVALID':
      return exitCodes.usage;
    case 'DIRECTORY':
      return exitCodes.directory;
    case 'UNREACHABLE':
      return exitCodes.unreachable;
    case 'ABORTED':
      return exitCodes.interrupted;
    case 'FAILED':
      return errnoName === 'EPERM' ? exitCodes.refused : exitCodes.failed;
    default:
      return exitCodes.failed;
  }
}

/** Every dump writes this image (criu/image.c). A directory that cannot be searched may have it. */
function hasImages(directory: string): boolean {
  try {
    return statSync(join(directory, 'inventory.img'), { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

function fullDisk({ errnoName, criuMessage }: CriuError, lines: readonly string[], path: string) {
  // The log itself may lack room for the line with the error.
  const said = [criuMessage ?? '', ...lines].join('\n');
  if (errnoName !== 'ENOSPC' && !said.includes('No space left on device')) return undefined;
  try {
    const { bavail, bsize } = statfsSync(path);
    return { path, free: bavail * bsize };
  } catch {
    return undefined;
  }
}
