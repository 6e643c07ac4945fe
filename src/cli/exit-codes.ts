/** Exit codes of criuctl. They are documented in its help and its man page, and stay stable. */
export const exitCodes = {
  /** Done. */
  done: 0,
  /** CRIU tried and failed, or the service answered with another error. */
  failed: 1,
  /** The command line is wrong; no request was sent. */
  usage: 2,
  /**
   * Refused: a process of another user, a restriction of this machine, or, for root, images or a directory that others can write.
   */
  refused: 3,
  /** There is no service, or you may not connect to it. */
  unreachable: 4,
  /** A directory is missing or cannot be opened; no request was sent. */
  directory: 5,
  /** Restored, and the root of the tree has ended a moment later. */
  ended: 6,
  /** A job that was in the foreground, or waited for, is suspended: HTCondor's usual checkpoint_exit_code. */
  suspended: 85,
  /** Interrupted; CRIU rolls back where it still can. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
