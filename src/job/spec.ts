/**
 * job.json: the request of a job. Version 1 of the format is described in criu-job(7). Pure.
 */

export const specFormat = 1;

export interface JobSpec {
  readonly format: typeof specFormat;
  readonly name: string;
  /** The program's file, and its arguments from argv[0] on. */
  readonly program: string;
  readonly command: readonly [string, ...string[]];
  readonly directory: string;
  /** As umask(2). */
  readonly umask: number;
  /** Absolute; undefined for /dev/null. */
  readonly stdin: string | undefined;
  /** Seconds between checkpoints, or by their cost; undefined without. */
  readonly every: number | 'auto' | undefined;
  /** The number of checkpoints that stay. */
  readonly keep: number;
  /** A resume puts the program's own files back to their state at the checkpoint. */
  readonly restoreFiles: boolean;
  /** Its standard streams are a terminal, which a process of criuctl's holds. */
  readonly pty: boolean;
}

/** @throws Error with a sentence about the file. */
export function parseSpec(text: string): JobSpec {
  const wrong = (what: string): never => {
    throw new Error(`its job.json ${what}`);
  };
  let found: Partial<Record<keyof JobSpec, unknown>>;
  try {
    found = JSON.parse(text);
  } catch {
    return wrong('is no JSON');
  }
  if (typeof found !== 'object' || found === null) return wrong('is no object');
  if (found.format !== specFormat)
    return wrong(`is of format ${String(found.format)}, and this criuctl knows ${specFormat}`);
  const { name, program, command, directory, umask, stdin, every, keep, restoreFiles, pty } = found;
  const isText = (value: unknown): value is string => typeof value === 'string' && !value.includes('\0');
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!isText(name) || !isText(program) || !isText(directory))
    return wrong('lacks a name, program or directory');
  if (!Array.isArray(command) || command.length === 0 || !command.every(isText))
    return wrong('lacks a command');
  if (!isCount(umask) || !isCount(keep) || keep < 1) return wrong('has a wrong number');
  if (stdin !== undefined && !isText(stdin)) return wrong('has a wrong standard input');
  if (every !== undefined && every !== 'auto' && !(isCount(every) && every > 0))
    return wrong('has a wrong interval');
  return {
    format: specFormat,
    name,
    program,
    command: command as unknown as JobSpec['command'],
    directory,
    umask,
    stdin,
    every,
    keep,
    restoreFiles: restoreFiles === true,
    pty: pty === true,
  };
}

/** The same command in the same place: `criuctl run` goes on with it. */
export function isSameWork(one: JobSpec, other: JobSpec): boolean {
  const work = ({ command, directory, stdin, pty }: JobSpec): string =>
    JSON.stringify([command, directory, stdin ?? null, pty]);
  return work(one) === work(other);
}
