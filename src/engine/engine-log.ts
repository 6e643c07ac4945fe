/**
 * Reads the error lines of CRIU's own log, for the reply to a failed request and its record.
 *
 * The log is read only where the service holds a copy of a fully privileged caller's directory. That directory may be on a file
 * system that never answers, so the log is read off the event loop, and waited for with a short timeout.
 */
// Node compiles `promises` at its first use, so use it late: the first answer must not wait for that.
import { constants, promises } from 'node:fs';
import { native, type OwnedFd } from '../native/binding.ts';
import { decisiveFirst, errorLinesOf } from '../protocol/error-lines.ts';

/** DEFAULT_LOG_FILENAME of CRIU: for a request without log_file. */
const defaultName = 'criu.log';

const tailBytes = 64 * 1024;
const maxLines = 5;
const patienceMs = 5000;

/** Readings that have not ended. Each holds one of libuv's few threads, so there is a limit. */
let reading = 0;
const maxReading = 2;

/**
 * @param directory where the engine wrote its log; copied.
 * @param name as the request gave it.
 * @param since Unix time in milliseconds: an older file belongs to an older request.
 * @returns at most five lines, without control characters; an empty list if the log cannot be read. Never throws.
 */
export async function readErrorLines(
  directory: OwnedFd,
  name: string | undefined,
  since: number,
): Promise<string[]> {
  const file = name ?? defaultName;
  // CRIU takes only a plain name; `-` is stdout.
  if (reading >= maxReading || file === '-' || file.includes('/')) return [];
  reading += 1;
  const held = native.duplicate(directory);
  const lines = readTail(`/proc/self/fd/${held.number}/${file}`, since)
    .then(errorLines)
    .catch(() => [])
    .finally(() => {
      reading -= 1;
      held.close();
    });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string[]>((resolve) => {
    timer = setTimeout(() => resolve([]), patienceMs);
  });
  try {
    return await Promise.race([lines, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Refuses links and FIFOs: the directory may be writable by others. */
async function readTail(path: string, since: number): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const file = await promises.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  try {
    const stat = await file.stat();
    // File systems store times more coarsely than the clock.
    if (!stat.isFile() || stat.mtimeMs < since - 1000) return '';
    const start = Math.max(0, stat.size - tailBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(tailBytes), 0, tailBytes, start);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** @returns at most five lines, those first that may say why. */
export function errorLines(text: string): string[] {
  return decisiveFirst(errorLinesOf(text)).slice(0, maxLines);
}
