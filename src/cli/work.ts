/** Common parts of dumps and restores: a named log, and a progress bar while CRIU works. */
import { realpathSync } from 'node:fs';
import type { Directory } from '../client/directory.ts';
import type { AnyOptions, ImageOptions } from '../client/options.ts';
import type { ActionScripts } from './action-script.ts';
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

/** A directory of a request as another process can open it: for root, the one that was checked. */
export function reachable(directory: Directory): string {
  return typeof directory === 'number' ? `/proc/${process.pid}/fd/${directory}` : absolute(`${directory}`);
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
 * Runs a request: with a progress bar if a person watches, and with scripts at CRIU's steps.
 * @param sizes measured only with a progress bar.
 */
export async function watch<T>(
  { watched, verb, options }: Invocation,
  scripts: ActionScripts | undefined,
  sizes: { readonly total: () => number; readonly now: () => number; readonly end: () => number },
  request: (notifications: AnyOptions['notifications']) => Promise<T>,
): Promise<T> {
  if (!watched)
    return request(scripts ? { any: (notification) => scripts.run(notification) } : options.notifications);
  // Load cli-progress only if a person watches.
  const { Progress } = await import('./progress.ts');
  const progress = new Progress(verb, sizes.total(), sizes.now);
  try {
    const result = await request({
      any: (notification) => {
        progress.at(notification.script);
        return scripts?.run(notification);
      },
    });
    progress.end(sizes.end());
    return result;
  } catch (error) {
    progress.end();
    throw error;
  }
}
