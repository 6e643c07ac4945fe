/** Executes criuctl, and waits for its end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import type { Readable } from 'node:stream';
import { isProgram } from '../../job/program.ts';
import { type Answer, answerOf, type Ended } from './answer.ts';
import { aborted, fileError, isJobError, JobError } from './job-error.ts';

/** Far more than criuctl prints. */
const mostOutput = 1 << 24;

/** Room for its last words. */
const mostErrors = 1 << 16;

export interface Question {
  /** A name in PATH, or an absolute path. */
  readonly criuctl: string;
  readonly verb: string;
  readonly job: string;
  readonly words: readonly string[];
  readonly directory: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly signal: AbortSignal | undefined;
}

/**
 * An abort is passed on as SIGTERM, and the end of criuctl is waited for, so that nothing of it goes on afterwards.
 * @throws JobError
 */
export async function ask({ verb, job, signal, ...question }: Question): Promise<Answer> {
  if (signal?.aborted) throw aborted(signal);
  requireDirectory(question.directory);
  const child = start(programOf(question.criuctl), question);
  const terminate = (): void => void child.kill('SIGTERM');
  signal?.addEventListener('abort', terminate);
  try {
    return answerOf(await endOf(child, question.criuctl), verb, job);
  } catch (error) {
    // Its own failure may come at the moment of an abort.
    const byAbort =
      isJobError(error, 'ABORTED') || (isJobError(error, 'CRIUCTL') && child.signalCode === 'SIGTERM');
    throw signal?.aborted && byAbort ? aborted(signal) : error;
  } finally {
    signal?.removeEventListener('abort', terminate);
  }
}

/** The kernel's error for a missing directory is that for a missing program. */
function requireDirectory(directory: string): void {
  try {
    if (!statSync(directory).isDirectory()) throw new Error('it is no directory');
    accessSync(directory, constants.X_OK);
  } catch (error) {
    throw fileError(directory, error);
  }
}

/**
 * By the PATH of this process: that of a job's environment is the job's. Relative entries of PATH do not count, because a job has a
 * directory of its own.
 */
function programOf(criuctl: string): string {
  if (isAbsolute(criuctl)) return criuctl;
  const places = (process.env.PATH ?? '/usr/bin:/bin').split(delimiter).filter((place) => isAbsolute(place));
  const found = places.map((place) => join(place, criuctl)).find((path) => isProgram(path));
  if (found !== undefined) return found;
  throw new JobError('CRIUCTL', `There is no program ${criuctl} in PATH`, {
    advice: ['Install criu-service, or name the path of criuctl'],
  });
}

type Begin = Pick<Question, 'words' | 'directory' | 'environment'>;

function start(program: string, { words, directory, environment }: Begin): ChildProcess {
  try {
    return spawn(program, words, {
      cwd: directory,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    throw notExecuted(program, error);
  }
}

function notExecuted(program: string, error: unknown): JobError {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === 'E2BIG'
    ? new JobError('INVALID', 'The command and its environment are longer than the kernel takes', {
        errnoName: code,
      })
    : new JobError('CRIUCTL', `${program} cannot be executed: ${code ?? message}`, {
        errnoName: code,
        cause: error,
      });
}

function endOf(child: ChildProcess, program: string): Promise<Ended> {
  const stdout = collect(child.stdout!, (kept, more) => (kept.length > mostOutput ? kept : kept + more));
  const stderr = collect(child.stderr!, (kept, more) => (kept + more).slice(-mostErrors));
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(notExecuted(program, error)));
    child.once('close', (status, signal) => resolve({ status, signal, stdout: stdout(), stderr: stderr() }));
  });
}

/** Reads to the end, whatever is kept: criuctl must not wait for its reader. */
function collect(stream: Readable, keep: (kept: string, more: string) => string): () => string {
  let kept = '';
  stream.setEncoding('utf8').on('data', (more: string) => {
    kept = keep(kept, more);
  });
  return () => kept;
}
