/** How criuctl ends. They are documented in its help and its man page, and stay as they are. */
export const exitCodes = {
  /** Done. */
  done: 0,
  /** CRIU tried and failed, or the service answered something else. */
  failed: 1,
  /** The command line is wrong; nothing was asked. */
  usage: 2,
  /** Refused: not yours, not allowed on this machine, or, as root, images or a directory that others can write. */
  refused: 3,
  /** There is no service to ask, or it does not let you connect. */
  unreachable: 4,
  /** A directory is missing or cannot be opened; nothing was asked. */
  directory: 5,
  /** Interrupted; CRIU rolls back where it still can. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
