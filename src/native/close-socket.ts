/** Closes a connection whose peer is not trusted: a caller, or an engine that has become its caller. */
import { native, type SeqpacketSocket } from './binding.ts';

/**
 * After shutdown(2) nothing more can be queued. Discard unread packets: they would turn the end into a reset (ECONNRESET), which
 * the peer would read before the reply. A packet with descriptors is left to another thread.
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
    // ENOTCONN and the like: the queue is empty.
  }
  socket.close();
}
