/** Calls as arguments of criuctl. Pure. Values are criuctl's to judge; here they only must arrive as they are. */
import { JobError } from './job-error.ts';

/** The options of `criuctl run`, with paths made absolute. */
export interface RunWords {
  readonly stdin?: string | undefined;
  readonly every?: number | 'auto' | undefined;
  readonly keep?: number | undefined;
  readonly restoreFiles?: boolean | undefined;
}

export type Asked =
  | { readonly verb: 'run'; readonly command: readonly string[]; readonly options: RunWords }
  | { readonly verb: 'resume'; readonly from: number | undefined }
  | { readonly verb: 'checkpoint' | 'suspend' | 'remove' }
  | { readonly verb: 'jobs' };

/**
 * @param name of a job, which begins with no dash.
 * @throws JobError
 */
export function wordsFor(asked: Asked, name: string, dir: string | undefined): string[] {
  const words = [asked.verb, '--json', ...valued('dir', dir)];
  switch (asked.verb) {
    case 'run':
      return [...words, ...runOptions(asked.options), name, '--', ...commandWords(asked.command)];
    case 'resume':
      return [...words, ...valued('from', asked.from), name];
    case 'jobs':
      return words;
    default:
      return [...words, name];
  }
}

function runOptions({ stdin, every, keep, restoreFiles }: RunWords): string[] {
  return [
    ...valued('stdin', stdin),
    ...valued('every', every),
    ...valued('keep', keep),
    ...(restoreFiles ? ['--restore-files'] : []),
  ];
}

/** One word, so that a value may begin with a dash. */
function valued(long: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [text(`--${long}`, `--${long}=${value}`)];
}

function commandWords(command: readonly string[]): readonly string[] {
  if (!Array.isArray(command) || command.length === 0 || command[0] === '')
    throw new JobError('INVALID', 'A job needs a command: a list of its program and arguments');
  return command.map((word: unknown, at) => text(at === 0 ? 'The program' : `Argument ${at}`, word));
}

/** The kernel ends an argument at a NUL. @throws JobError */
export function text(what: string, value: unknown): string {
  if (typeof value === 'string' && !value.includes('\0')) return value;
  throw new JobError('INVALID', `${what} must be a text without NUL`);
}

/** @throws JobError for a variable that would arrive as another. */
export function checkedEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = Object.entries(environment).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    if (name === '' || name.includes('=') || name.includes('\0'))
      throw new JobError('INVALID', `${JSON.stringify(name)} is no name of an environment variable`);
    text(`The environment variable ${name}`, value);
  }
  return Object.fromEntries(given);
}

/** For a criuctl whose environment is nobody else's: variables of Node's would change how it runs. */
export function ownEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('NODE_')));
}
