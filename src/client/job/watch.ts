/** Tells that a job may have changed: by fs.watch(3) of its directories, and by the end of its process, which changes no file. */
import { once } from 'node:events';
import { type FSWatcher, statSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Ending, endingOf } from '../../job/process-end.ts';
import { fileError } from './job-error.ts';

/** What the job writes is in the same directory, and changes all the time. */
const files: ReadonlySet<string> = new Set([
  'job.json',
  'run.json',
  'end',
  'failure',
  'latest',
  'checkpoints',
]);

interface Watched {
  readonly watcher: FSWatcher;
  /** Device and inode. */
  readonly identity: string;
  /** The directory was removed or moved: a new one may be in its place. */
  stale: boolean;
}

interface Wanted {
  readonly path: string;
  readonly matters: (name: string) => boolean;
}

export class Watch {
  readonly #home: string;
  readonly #name: string;
  readonly #watched = new Map<string, Watched>();
  #process: { readonly run: string; readonly ending: Ending | undefined } | undefined;
  #changed = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(home: string, name: string) {
    this.#home = home;
    this.#name = name;
  }

  /**
   * Before each look at the job: a change after this call is told. What is missing is told by the directory above it.
   * @throws JobError
   */
  arm(): void {
    this.#changed = false;
    for (let before = ''; ; ) {
      const wanted = this.#wanted();
      const now = wanted.map(({ path }) => `${path} ${identityOf(path)}`).join('\n');
      // A directory may have come, gone or changed since it was looked for.
      if (now === before) return;
      before = now;
      this.#keep(wanted);
    }
  }

  /** @returns true if the process was not watched yet: then the job must be looked at once more. @throws JobError */
  armProcess(pid: number | null, since: string | null): boolean {
    const run = `${pid} ${since}`;
    if (pid === null || this.#process?.run === run) return false;
    this.#process?.ending?.close();
    this.#process = undefined;
    try {
      this.#process = { run, ending: endingOf(pid, this.#told) };
    } catch (error) {
      throw fileError(`/proc/${pid}`, error);
    }
    return true;
  }

  /**
   * Waits for a change since the last {@link arm}, or for the signal.
   * @param lookEvery seconds after which a change is taken for granted. @throws JobError
   */
  async change(signal: AbortSignal | undefined, lookEvery: number | undefined): Promise<void> {
    if (!this.#changed && !signal?.aborted) {
      const wake = new AbortController();
      this.#wake = () => wake.abort();
      signal?.addEventListener('abort', this.#wake);
      const timer = lookEvery === undefined ? undefined : setTimeout(this.#wake, lookEvery * 1000);
      await once(wake.signal, 'abort');
      clearTimeout(timer);
      signal?.removeEventListener('abort', this.#wake);
      this.#wake = undefined;
    }
    if (this.#failure) throw this.#failure;
  }

  close(): void {
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
    this.#process?.ending?.close();
  }

  readonly #told = (): void => {
    this.#changed = true;
    this.#wake?.();
  };

  #wanted(): Wanted[] {
    let [above, child] = [this.#home, this.#name];
    while (identityOf(above) === '' && above !== '/') [above, child] = [dirname(above), basename(above)];
    const path = join(this.#home, this.#name);
    return [
      { path: above, matters: (name: string) => name === child },
      { path, matters: (name: string) => files.has(name) },
      { path: join(path, 'checkpoints'), matters: (name: string) => /^\d+$/.test(name) },
    ].filter((each) => identityOf(each.path) !== '');
  }

  #keep(wanted: readonly Wanted[]): void {
    for (const [path, { watcher, identity, stale }] of this.#watched) {
      if (!stale && identity === identityOf(path) && wanted.some((each) => each.path === path)) continue;
      watcher.close();
      this.#watched.delete(path);
    }
    for (const each of wanted) if (!this.#watched.has(each.path)) this.#begin(each);
  }

  #begin({ path, matters }: Wanted): void {
    const identity = identityOf(path);
    try {
      const watcher = watch(path, (_, name) => {
        // Of the directory itself: Linux names no file then, and Node names the directory.
        const itself = name === null || name === basename(path);
        if (itself) watched.stale = true;
        if (itself || matters(name)) this.#told();
      });
      watcher.on('error', (error) => {
        this.#failure = fileError(path, error);
        this.#told();
      });
      const watched: Watched = { watcher, identity, stale: false };
      this.#watched.set(path, watched);
    } catch (error) {
      // It has gone meanwhile, which the directory above it tells.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileError(path, error);
    }
  }
}

/** @returns nothing if it is not there. @throws JobError */
function identityOf(path: string): string {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw fileError(path, error);
  }
}
