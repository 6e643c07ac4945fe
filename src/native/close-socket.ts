/** The end of a connection whose peer is not trusted: a caller, or an engine that has become one. */
import { native, type SeqpacketSocket } from './binding.ts';

/**
 * After shutdown(2) nothing can be queued any more. What is still unread is thrown away, because it would turn the end into a
 * reset (ECONNRESET), which its caller would read ahead of the reply; unless it holds descriptors: that is left to another thread.
 */
export function closeSocket(socket: SeqpacketSocket): void {
  try {
    socket.shutdown('both');
    while (socket.discard());
    const { kind } = socket.peek(0);
    if (kind !== 'end' && kind !== 'nothing') {
      const { uid } = socket.peerCredentials();
      native.closeElsewhere(socket.release(), uid);
      return;
    }
  } catch {
    // ENOTCONN and the like: there is nothing in its queue.
  }
  socket.close();
}
