// A service that does nothing: accepts, answers the same bytes, a single file, no packages. It shows Node's own cost for an
// activated service. A stream, because Node's own net module knows no SEQPACKET.
const answer = Buffer.from([0x08, 0x0a, 0x10, 0x01]);
require('node:net')
  .createServer((socket) => socket.on('data', () => socket.end(answer)))
  .listen({ fd: 3 });
