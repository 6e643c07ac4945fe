/** Common parts of dumps and restores: a named log, and a progress bar while CRIU works. */
import { realpathSync } from 'node:fs';
import type { AnyOptions, ImageOptions } from '../client/options.ts';
import { directoriesOf, type ImageUse, type Places } from './directories.ts';
import type { Invocation } from './invocation.ts';

/**
 * Adds criuctl's defaults to the options: the current directory, and a log named after the verb.
 * @throws as directoriesOf()
 */
export function withDefaults<T extends AnyOptions>(
  invocation: Invocation,
  places: Places,
  does: ImageUse,
): T & ImageOptions & { logFile: string } {
  const { verb, options, signal } = invocation;
  const logFile = options.logFile ?? `${verb}.log`;
  return { ...(options as T), ...directoriesOf(invocation, places, does, logFile), logFile, signal };
}

/** An absolute path, for readers with another working directory. */
export function absolute(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/**
 * Runs a request, with a progress bar if a person watches.
 * @param sizes measured only with a progress bar.
 */
export async function watch<T>(
  { watched, verb, options }: Invocation,
  sizes: { readonly total: () => number; readonly now: () => number; readonly end: () => number },
  request: (notifications: AnyOptions['notifications']) => Promise<T>,
): Promise<T> {
  if (!watched) return request(options.notifications);
  // Load cli-progress only if a person watches.
  const { Progress } = await import('./progress.ts');
  const progress = new Progress(verb, sizes.total(), sizes.now);
  try {
    const result = await request({ any: ({ script }) => progress.at(script) });
    progress.end(sizes.end());
    return result;
  } catch (error) {
    progress.end();
    throw error;
  }
}
