/** A program of the battery: how people start it, and what shows that it works. Commands are of sh(1), and run as its user in its directory. */
import type { User } from '../hostile/support/people.ts';

export type At = 'file' | 'roots-file' | 'terminal' | 'pipe';

export interface Program {
  readonly name: string;
  /** The shell is replaced by its last command. */
  readonly start: string;
  /**
   * Where its standard streams lead: `file` is /dev/null and a file `output`; `roots-file` is such a file of root's; `terminal` is a terminal of script(1); `pipe` is an output that
   * another program reads.
   */
  readonly at?: At;
  readonly files?: Readonly<Record<string, string>>;
  /** Prints the pid of the process to dump, if that is not the started process. */
  readonly pid?: string;
  /** Succeeds when the program is at work. */
  readonly ready: string;
  /** Work before the dump, whose effect is tested after the restore. */
  readonly prepare?: string;
  /** Keys that are typed to a program at a terminal before `works` is asked. */
  readonly keys?: string;
  /**
   * Succeeds if the program works; `progress` stands for a file `progress` whose content changes. $PHASE is `before` while it was not
   * restored, then `after`.
   */
  readonly works: string;
  /** Commands that dump the process $PID into the directory $IMAGES and restore it, in the place of criuctl's. */
  readonly by?: { readonly dump: string; readonly restore: string };
  /** Makes what these commands need, as root, before the first trial. */
  readonly build?: () => void;
  /** Users of the program; without it, root and alice. */
  readonly users?: readonly User[];
}

export const progress = 'progress';
