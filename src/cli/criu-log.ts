/** CRIU's log, as far as it says what went wrong. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** How much of the end is looked at. */
const tailBytes = 1 << 20;

/** The first errors are the cause, the last ones what came of it; more than this nobody reads. */
const firstLines = 6;
const lastLines = 2;

/** @returns the error lines, without time stamps; none where there is no log. */
export function errorLines(path: string): string[] {
  const lines = readTail(path)
    .split('\n')
    .filter((line) => /\bError \(|consider using|--shell-job|--file-locks/i.test(line))
    .map((line) =>
      line
        .replace(/^\s*(\([0-9.]+\)\s*)?/, '')
        .replace(/\p{Cc}/gu, ' ')
        .trim(),
    );
  const hidden = lines.length - firstLines - lastLines;
  return hidden <= 0
    ? lines
    : [...lines.slice(0, firstLines), `(${hidden} more)`, ...lines.slice(-lastLines)];
}

/** The directory may be somebody else's: neither a link nor a FIFO is followed or waited for. */
function readTail(path: string): string {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) return '';
      const buffer = Buffer.alloc(Math.min(stat.size, tailBytes));
      const length = readSync(fd, buffer, 0, buffer.length, Math.max(0, stat.size - tailBytes));
      return buffer.subarray(0, length).toString('utf8');
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
