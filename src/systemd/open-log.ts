/** Opens the log. Each kind is loaded on demand: winston takes a sixth of the time until the first answer. */
import { type Log, levels } from './log.ts';

export interface LogOptions {
  /** 0 errors only, 1 warnings, 2 information (the default), 4 all: CRIU's -v[N]. */
  readonly verbosity: number;
  /** Append to this file. */
  readonly file?: string | undefined;
  /** The destination without a file: native records of journald (sd_journal_sendv(3)), readable lines, or no log. */
  readonly sink: 'journal' | 'stderr' | 'none';
}

export async function createLog({ verbosity, file, sink }: LogOptions): Promise<Log> {
  const most = levels[Math.min(Math.max(verbosity, 0), levels.length - 1)]!;
  if (file || sink === 'stderr') return (await import('./text-log.ts')).textLog(most, file);
  if (sink === 'journal') return (await import('./journal.ts')).journalLog(most);
  const nothing = (): void => {};
  return {
    error: nothing,
    warning: nothing,
    info: nothing,
    debug: nothing,
    most,
    close: () => Promise.resolve(),
  };
}
