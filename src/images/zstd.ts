/**
 * The program zstd(1), which compresses pages: it is optional, and started without a shell. Its input is an open file, and its output is
 * taken piece by piece, so that memory does not depend on the size. If this process is killed, zstd ends at its next piece.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** zstd is not installed, was not run to its end, or has failed: then alone it has judged its input. The message is a sentence without its end. */
export class ZstdError extends Error {
  override readonly name = 'ZstdError';
  readonly is: 'not installed' | 'not run' | 'failed';

  constructor(message: string, is: ZstdError['is']) {
    super(message);
    this.is = is;
  }
}

/** Of its errors, the last of which is told. */
const mostSaid = 4096;

/**
 * Compresses a file into a single frame, which tells the size of the file and has a checksum.
 * @param fd at its beginning.
 * @param bytes of the file.
 * @throws ZstdError, or the error of `take`, after which zstd is ended.
 */
export function compressed(
  fd: number,
  bytes: number,
  take: (piece: Buffer) => void,
  signal?: AbortSignal,
): Promise<void> {
  return through(fd, ['-3', '--check', `--stream-size=${bytes}`], take, signal);
}

/** The way back. zstd compares the checksum, and the size that the frame tells. @throws as {@link compressed} */
export function expanded(fd: number, take: (piece: Buffer) => void, signal?: AbortSignal): Promise<void> {
  return through(fd, ['--decompress'], take, signal);
}

async function through(
  fd: number,
  words: readonly string[],
  take: (piece: Buffer) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  const child = started(words, [fd, 'pipe', 'pipe'], signal);
  // Before anything else: a program that cannot be started says so at the next turn, and has perhaps no pipes.
  const end = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  const ended = end.catch((error: NodeJS.ErrnoException) => error);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-mostSaid);
  });
  try {
    for await (const piece of child.stdout ?? []) take(piece as Buffer);
  } catch (error) {
    child.kill('SIGKILL');
    const failure = await ended;
    throw failure instanceof Error ? asZstdError(failure) : error;
  }
  const failure = await ended;
  if (failure instanceof Error) throw asZstdError(failure);
  const [status, killer] = failure;
  if (status === 0) return;
  const last = said
    .trim()
    .split('\n')
    .at(-1)!
    .replace(/^(?:zstd: )?(?:\/\*stdin\*\\ ?: )?/, '');
  const why = last === '' ? ` with status ${status}` : `: ${last}`;
  throw killer === null
    ? new ZstdError(`zstd has failed${why}`, 'failed')
    : new ZstdError(`zstd was ended by ${killer}`, 'not run');
}

/** @throws ZstdError */
function started(
  words: readonly string[],
  stdio: StdioOptions,
  signal: AbortSignal | undefined,
): ChildProcess {
  try {
    return spawn('zstd', [...words, '--quiet', '--stdout'], {
      stdio,
      // Options in ZSTD_CLEVEL and others are of the user's own use of zstd.
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    throw asZstdError(error as NodeJS.ErrnoException);
  }
}

/** Looks where a start would look. */
export function isInstalled(): boolean {
  return (process.env.PATH ?? '/bin:/usr/bin').split(':').some((directory) => {
    try {
      accessSync(join(directory, 'zstd'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function asZstdError(error: NodeJS.ErrnoException): Error {
  if (error.name === 'AbortError') return error;
  return error.code === 'ENOENT'
    ? new ZstdError('zstd is not installed', 'not installed')
    : new ZstdError(`zstd cannot be started: ${error.code ?? error.message}`, 'not run');
}
