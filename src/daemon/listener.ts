/** The listening socket of a service without socket activation, bound as by `criu service`. */

import { lstatSync, unlinkSync } from 'node:fs';
import { constants as os } from 'node:os';
import { type NativeError, native, type SeqpacketSocket } from '../native/binding.ts';
import { StartError } from '../systemd/activation.ts';

/** Anyone may connect, as with `criu service`; each packet is authorized by itself. */
const mode = 0o666;

const backlog = 4096;

/**
 * Binds `path`. Replaces a stale socket file; a live socket and any other kind of file stay.
 * @throws StartError
 */
export function bindListener(path: string): SeqpacketSocket {
  removeStale(path);
  try {
    return native.listen(path, mode, backlog);
  } catch (error) {
    const { errno, message } = error as NativeError;
    throw new StartError(errno, `Cannot listen on ${path}: ${message}`, { cause: error });
  }
}

function removeStale(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket())
    throw new StartError(os.errno.EEXIST, `${path} exists and is no socket: it is left alone`);
  if (isLive(path)) throw new StartError(os.errno.EADDRINUSE, `Another process listens on ${path}`);
  unlinkSync(path);
}

function isLive(path: string): boolean {
  try {
    native.connect(path).close();
    return true;
  } catch (error) {
    // EAGAIN is a live socket with a full backlog, EPROTOTYPE a live socket of another type. Only ECONNREFUSED proves a stale
    // file.
    return (error as NativeError).code !== 'ECONNREFUSED';
  }
}
