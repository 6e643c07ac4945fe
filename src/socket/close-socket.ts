/** The end of a connection whose peer is not trusted: a caller, or an engine that has become one. */
import { constants as os } from 'node:os';
import { type NativeError, native, type SeqpacketSocket } from './binding.ts';

const { EMSGSIZE } = os.errno;

/**
 * After shutdown(2) nothing can be queued any more. What is still unread is thrown away, because it would turn the end into a
 * reset (ECONNRESET), which its caller would read ahead of the reply; unless it holds descriptors: that is left to another thread.
 */
export function closeSocket(socket: SeqpacketSocket): void {
  try {
    socket.shutdown('both');
    for (let { kind } = socket.peek(0); kind !== 'end' && kind !== 'nothing'; { kind } = socket.peek(0)) {
      if (socket.headCarriesFds()) {
        const { uid } = socket.peerCredentials();
        native.closeElsewhere(socket.release(), uid);
        return;
      }
      consume(socket);
    }
  } catch {
    // ENOTCONN and the like: there is nothing in its queue.
  }
  socket.close();
}

function consume(socket: SeqpacketSocket): void {
  try {
    socket.receive(0, 0);
  } catch (error) {
    // Too large: consumed all the same. After anything else it is still there.
    if ((error as NativeError).errno !== EMSGSIZE) throw error;
  }
}
