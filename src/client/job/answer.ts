/** The end of a criuctl with --json, as a result or an error. Pure. */
import { codeOf, JobError } from './job-error.ts';

export interface Ended {
  /** Null if a signal has ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  /** The last of it. */
  readonly stderr: string;
}

export interface Answer {
  readonly json: Readonly<Record<string, unknown>>;
  readonly warnings: readonly string[];
}

const warning = 'criuctl: warning: ';

/** @throws JobError */
export function answerOf(ended: Ended, verb: string, job: string): Answer {
  const { status, stdout, stderr } = ended;
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  if (status !== 0) throw failureOf(ended, lines, job);
  const json = objectIn(stdout);
  if (json?.verb !== verb || (verb !== 'jobs' && json.job !== job)) {
    throw new JobError('CRIUCTL', `criuctl ${verb} has answered in another way than criuctl does`, {
      advice: ['Is another program, or another version, installed as criuctl?'],
      exitCode: 0,
    });
  }
  const warnings = lines.flatMap((line) => (line.startsWith(warning) ? line.slice(warning.length) : []));
  return { json, warnings };
}

function failureOf({ status, signal, stdout }: Ended, lines: readonly string[], job: string): JobError {
  if (status === null) return new JobError('CRIUCTL', `criuctl was ended by ${signal}`);
  const told = objectIn(lines.at(-1) ?? '');
  if (told?.success === false && typeof told.message === 'string') {
    return new JobError(codeOf(status), told.message, {
      exitCode: status,
      advice: texts(told.advice),
      errnoName: typeof told.errno === 'string' ? told.errno : undefined,
      lines: texts(told.lines),
      log: typeof told.log === 'string' ? told.log : undefined,
    });
  }
  if (objectIn(stdout)?.state === 'running-elsewhere') {
    return new JobError('REFUSED', `Job ${job} runs on another machine, as far as its directory tells`, {
      exitCode: status,
    });
  }
  const sentence = lines
    .filter((line) => !line.startsWith(warning))
    .map((line) => line.replace(/^(criuctl|error): /, ''))
    .join('; ');
  return new JobError(codeOf(status), sentence || `criuctl has ended with status ${status}`, {
    exitCode: status,
  });
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

function objectIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}
