/** The digest of a file, read piece by piece: memory does not depend on its size. */
import { createHash } from 'node:crypto';
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { readAt } from '../image-directory.ts';

const readElsewhere = promisify(read);

const pieceBytes = 256 * 1024;

/** SHA-256 of an open file from its beginning, hexadecimal. Blocks until it is read. @throws ImageError */
export function digestOf(fd: number, name: string, piece = Buffer.allocUnsafeSlow(pieceBytes)): string {
  const hash = createHash('sha256');
  for (let at = 0; ; ) {
    const bytes = readAt(fd, name, piece, 0, at);
    if (bytes === 0) return hash.digest('hex');
    hash.update(piece.subarray(0, bytes));
    at += bytes;
  }
}

/** The same, reading on another thread. @throws Error of node:fs, the signal's reason */
export async function digestElsewhere(fd: number, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafeSlow(pieceBytes);
  for (let at = 0; ; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await readElsewhere(fd, piece, 0, pieceBytes, at);
    if (bytesRead === 0) return hash.digest('hex');
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
}
