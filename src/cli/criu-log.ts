/** Extracts the errors from CRIU's log. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { bare, decisiveFirst, errorLinesOf } from '../protocol/error-lines.ts';

/** The length of the end that is read. */
const tailBytes = 1 << 20;

/** The lines that may say why come first, the consequences last; lines in between are left out. */
const firstLines = 6;
const lastLines = 2;

/** @returns the error lines and CRIU's advice, without time stamps; an empty list without a log. */
export function errorLines(path: string): string[] {
  const text = readTail(path);
  const errors = decisiveFirst(errorLinesOf(text));
  const advice = text
    .split('\n')
    .filter((line) => /consider using|--shell-job|--file-locks/i.test(line))
    .map(bare);
  const lines = [...new Set([...errors, ...advice])];
  const hidden = lines.length - firstLines - lastLines;
  return hidden <= 0
    ? lines
    : [...lines.slice(0, firstLines), `(${hidden} more)`, ...lines.slice(-lastLines)];
}

/** The directory may belong to another user, so links are not followed, and FIFOs do not block. */
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
