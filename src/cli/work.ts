/** What dumps and restores have in common: a log with a name, a bar while CRIU works. */
import { realpathSync } from 'node:fs';
import type { AnyOptions, ImageOptions } from '../client/options.ts';
import { directoriesOf, type ImageUse, type Places } from './directories.ts';
import type { Invocation } from './invocation.ts';

/**
 * Options with what criuctl adds: the current directory, and a log that is named after the verb.
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

/** An absolute path, for whoever reads a result elsewhere. */
export function absolute(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/**
 * Runs a request under a bar, where somebody watches.
 * @param sizes looked at only then.
 */
export async function watch<T>(
  { watched, verb, options }: Invocation,
  sizes: { readonly total: () => number; readonly now: () => number; readonly end: () => number },
  request: (notifications: AnyOptions['notifications']) => Promise<T>,
): Promise<T> {
  if (!watched) return request(options.notifications);
  // cli-progress is for terminals, and nobody else waits for it to load.
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
