/**
 * The last error lines of CRIU's own log, for the record of a request that failed.
 *
 * Read only where the service holds a copy of a fully privileged caller's directory. That directory may be anywhere, on a file
 * system that never answers for one, so it is read beside the event loop and not waited for any longer than a moment.
 */
// Node compiles `promises` at its first use, which the first answer does not wait for.
import { constants, promises } from 'node:fs';
import { native, type OwnedFd } from '../native/binding.ts';

/** DEFAULT_LOG_FILENAME of CRIU: without log_file in a request. */
const defaultName = 'criu.log';

const tailBytes = 16 * 1024;
const maxLines = 5;
const patienceMs = 2000;

/** Readings that have yet to end; more of them are not begun, because each holds one of libuv's few threads. */
let reading = 0;
const maxReading = 2;

/**
 * @param directory where the engine wrote its log; copied.
 * @param name as the request gave it.
 * @param since Unix time in milliseconds: an older file is of an older request.
 * @returns at most five lines, without control characters; none where nothing can be read. Never throws.
 */
export async function readErrorLines(
  directory: OwnedFd,
  name: string | undefined,
  since: number,
): Promise<string[]> {
  const file = name ?? defaultName;
  // CRIU takes a plain name only; `-` is no file.
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

/** Neither a link nor a FIFO: the directory may be one that others can write. */
async function readTail(path: string, since: number): Promise<string> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants;
  const file = await promises.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  try {
    const stat = await file.stat();
    // File systems store times more coarsely than the clock tells them.
    if (!stat.isFile() || stat.mtimeMs < since - 1000) return '';
    const start = Math.max(0, stat.size - tailBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(tailBytes), 0, tailBytes, start);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** `Error (criu/cr-dump.c:1234): ...`, at higher levels with the time before it, and the pid of a task that is restored. */
export function errorLines(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => /^(\(\d+\.\d+\)\s+)?(\d+: )?Error \(/.test(line))
    .slice(-maxLines)
    .map((line) => line.replace(/\p{Cc}+/gu, ' ').slice(0, 500));
}
