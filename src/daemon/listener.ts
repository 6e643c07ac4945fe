/** The listening socket of a service that nobody activated, as `criu service` binds it. */

import { lstatSync, unlinkSync } from 'node:fs';
import { constants as os } from 'node:os';
import { type NativeError, native, type SeqpacketSocket } from '../native/binding.ts';
import { StartError } from '../systemd/activation.ts';

/** Anyone may connect; who is served for what is decided for each packet. CRIU's service does the same. */
const mode = 0o666;

const backlog = 4096;

/**
 * Binds `path`. A stale socket file is replaced, a live one is not, and neither is anything that is no socket.
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
    // EAGAIN is a live socket with a full backlog, EPROTOTYPE one of another type: only ECONNREFUSED says that nobody listens.
    return (error as NativeError).code !== 'ECONNREFUSED';
  }
}
