/** The tasks of a dump. */

export interface TreeTask {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  /** Includes the task's own number. */
  readonly threads: readonly number[];
}

export interface Tree {
  readonly tasks: readonly TreeTask[];
  /** The image has more tasks or threads than are read. */
  readonly cut: boolean;
}
