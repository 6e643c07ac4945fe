/** The error lines of CRIU's log: which lines they are, and which of them says why. Pure. */

/**
 * `Error (criu/cr-dump.c:1234): ...`. Before it may come the time, and the pid of a restored task. Lines of code without libc, in a
 * dumped process (the parasite) or a restored one (the restorer), begin with `pie: PID: `.
 */
const errorLine = /^(?:\(\d+\.\d+\)\s*)?(?:pie: )?(?:\s*\d+: )?Error \(/;

const longest = 500;

/** The weight of a line: causes come first, then what follows from them, then what happens to processes that succeed, too. */
const weights: readonly (readonly [weight: number, pattern: RegExp])[] = [
  [2, /Can't setup RLIMIT_NOFILE for self/],
  // The daemon of cgroups ends with the restore.
  [2, /cg: cgroupd: recv req error/],
  // A restored task that ends in its restorer: a line of that says why.
  [2, /Task \d+ is in unexpected state/],
  [1, /: (?:Dumping|Pre-dumping|Restoring) FAILED\.?$/],
  [1, /Killing processes because of failure on restore/],
  [1, /Can't stop all tasks on rt_sigreturn/],
  [1, /Task stopped with \d+: Segmentation fault/],
  [1, /: BUG at criu\/pie\//],
  [1, /Unable to detach from \d+: No such process/],
  [1, /\d+ (?:killed by signal|exited, status=|stopped by signal)/],
  [1, /Failed unpacking object/],
  // An absent or empty image, without its name.
  [1, /: Unexpected EOF/],
];

/** 0 for a line that may say why, more for a line that does not. */
export function weightOf(line: string): number {
  return weights.find(([, pattern]) => pattern.test(line))?.[0] ?? 0;
}

/** @returns each error line once, without its time and control characters, in the order of the log. */
export function errorLinesOf(text: string): string[] {
  return [
    ...new Set(
      text
        .split('\n')
        // A user may write the log: a long line costs no more than a short one.
        .filter((line) => errorLine.test(line.slice(0, longest)))
        .map(bare),
    ),
  ];
}

/** A line of CRIU without its time, for people. */
export function bare(line: string): string {
  return line
    .replace(/^\s*(?:\(\d+\.\d+\)\s*)?/, '')
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, longest);
}

/** @returns the lines with those first that may say why; the order is kept otherwise. */
export function decisiveFirst(lines: readonly string[]): string[] {
  return [...lines].sort((one, other) => weightOf(one) - weightOf(other));
}
