import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { existsSync, fstatSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { native, type OwnedFd, type SeqpacketSocket } from '../../src/native/binding.ts';
import {
  connectedPair,
  isCloexec,
  isNonBlocking,
  isOpen,
  openNull,
  requireArgumentError,
  requireNativeError,
  requireNoLeak,
  withDirectory,
} from './support.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;

describe('listen', () => {
  it('makes a socket file with exactly the requested mode, under any umask', () => {
    withDirectory((directory) => {
      for (const umask of [0o077, 0]) {
        const old = process.umask(umask);
        for (const mode of [0o666, 0o600, 0o000]) {
          const path = join(directory, `socket-${umask}-${mode}`);
          native.listen(path, mode, 1).close();
          assert.equal(statSync(path).mode & 0o7777, mode);
          assert.ok(statSync(path).isSocket());
        }
        process.umask(old);
      }
    });
  });

  it('refuses a path that exists, and leaves it alone', () => {
    withDirectory((directory) => {
      const path = join(directory, 'file');
      writeFileSync(path, 'kept');
      requireNoLeak(() => requireNativeError(() => native.listen(path, 0o666, 1), 'EADDRINUSE', 'bind'));
      assert.equal(readFileSync(path, 'utf8'), 'kept');
    });
  });

  it('refuses a path that does not fit sun_path instead of cutting it', () => {
    withDirectory((directory) => {
      const longest = join(directory, 'p'.repeat(107 - directory.length - 1));
      assert.equal(longest.length, 107);
      native.listen(longest, 0o600, 1).close();
      assert.ok(existsSync(longest));
      requireNoLeak(() => {
        requireNativeError(() => native.listen(`${longest}x`, 0o600, 1), 'ENAMETOOLONG', 'bind');
        requireNativeError(() => native.connect(`${longest}x`), 'ENAMETOOLONG', 'connect');
      });
    });
  });

  it('refuses arguments by name', () => {
    requireArgumentError(() => native.listen('', 0o600, 1), 'path');
    requireArgumentError(() => native.listen('/a\0b', 0o600, 1), 'path');
    requireArgumentError(() => native.listen('/x', 0o1777, 1), 'mode');
    requireArgumentError(() => native.listen('/x', 0o600, -1), 'backlog');
    requireArgumentError(() => native.connect(''), 'path');
  });
});

describe('connect and accept', () => {
  it('bring two sockets together, both CLOEXEC', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 4);
      assert.equal(listener.accept(), undefined, 'nobody waits');
      const caller = native.connect(join(directory, 'socket'));
      const session = listener.accept();
      assert.ok(session);
      assert.ok(isCloexec(listener.fd) && isCloexec(caller.fd) && isCloexec(session.fd));
      assert.ok(caller.send(Buffer.from('hello')));
      assert.equal(session.receive(10)?.data.toString(), 'hello');
      assert.equal(listener.accept(), undefined);
      for (const socket of [listener, caller, session]) socket.close();
    });
  });

  it('a caller that left before it was accepted is seen as the end of its connection', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 4);
      native.connect(join(directory, 'socket')).close();
      const session = listener.accept();
      assert.deepEqual(session?.peek(1), { kind: 'end' });
      session?.close();
      listener.close();
    });
  });

  it('connect never waits for room in the backlog', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 0);
      const callers: SeqpacketSocket[] = [];
      const error = requireNativeError(
        () => {
          for (let index = 0; index < 3; index += 1) callers.push(native.connect(join(directory, 'socket')));
        },
        'EAGAIN',
        'connect',
      );
      assert.match(error.message, /socket/);
      for (const socket of [listener, ...callers]) socket.close();
    });
  });

  it('a failing connect tells the reason, and leaves no descriptor', () => {
    withDirectory((directory) => {
      const path = join(directory, 'socket');
      requireNoLeak(() => requireNativeError(() => native.connect(path), 'ENOENT', 'connect'));
      native.listen(path, 0o600, 1).close();
      requireNoLeak(() => requireNativeError(() => native.connect(path), 'ECONNREFUSED', 'connect'));
    });
  });

  it('accept on a connected socket fails', () => {
    const { near, far } = connectedPair();
    requireNoLeak(() => requireNativeError(() => near.accept(), 'EINVAL', 'accept4'));
    near.close();
    far.close();
  });

  it('a whole connection leaves no descriptor', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 4);
      requireNoLeak(() => {
        const caller = native.connect(join(directory, 'socket'));
        listener.accept()?.close();
        caller.close();
      });
      listener.close();
    });
  });
});

describe('adopt', () => {
  it('takes the descriptor away from its OwnedFd', () => {
    const { ours, theirs } = native.socketpair();
    const { number } = theirs;
    const far = native.adopt(theirs);
    assert.equal(theirs.number, -1);
    assert.equal(far.fd, number);
    theirs.close();
    assert.ok(isOpen(number));
    far.close();
    assert.ok(!isOpen(number));
    ours.close();
  });

  it('makes a listening socket non-blocking, so that accept() never waits', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 4);
      const fd = listener.release();
      assert.ok(!isNonBlocking(fd.number));
      const again = native.adopt(fd);
      assert.equal(again.accept(), undefined);
      again.close();
    });
  });

  it('refuses anything but a SEQPACKET Unix socket, and leaves it with its owner', async () => {
    const file = openNull();
    requireArgumentError(() => native.adopt(file), 'fd');
    assert.ok(isOpen(file.number));
    file.close();
    const server = await listenOnTcp();
    const tcp = copyOf(server);
    requireArgumentError(() => native.adopt(tcp), 'fd');
    tcp.close();
    server.close();
  });
});

describe('describeSocket', () => {
  it('tells family, type and listening, and recognizes a descriptor that is not a socket', async () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 1).release();
      assert.deepEqual(native.describeSocket(listener), {
        family: AF_UNIX,
        type: SOCK_SEQPACKET,
        listening: true,
      });
      listener.close();
    });
    const { ours, theirs } = native.socketpair();
    assert.deepEqual(native.describeSocket(theirs), {
      family: AF_UNIX,
      type: SOCK_SEQPACKET,
      listening: false,
    });
    ours.close();
    theirs.close();
    const server = await listenOnTcp();
    const tcp = copyOf(server);
    const description = native.describeSocket(tcp);
    assert.equal(description?.type, SOCK_STREAM);
    assert.equal(description?.listening, true);
    tcp.close();
    server.close();
    const file = openNull();
    assert.equal(native.describeSocket(file), undefined);
    file.close();
  });
});

describe('unreadByPeer', () => {
  it('is true from the sending of a packet, through any copy, until the peer has read it', () => {
    const { ours, theirs } = native.socketpair();
    const sender = native.adopt(native.duplicate(theirs));
    assert.equal(native.unreadByPeer(theirs), false);
    sender.send(Buffer.from('a reply'));
    assert.equal(native.unreadByPeer(theirs), true);
    assert.equal(ours.receive(100)?.data.toString(), 'a reply');
    assert.equal(native.unreadByPeer(theirs), false);
    for (const end of [ours, sender, theirs]) end.close();
  });

  it('fails on a descriptor that is not a socket', () => {
    const file = openNull();
    requireNativeError(() => native.unreadByPeer(file), 'ENOTTY', 'ioctl');
    file.close();
  });
});

describe('the kernel’s knowledge of the peer', () => {
  it('pid, uid and gid are those of the process that connected', () => {
    const { near, far } = connectedPair();
    assert.deepEqual(near.peerCredentials(), {
      pid: process.pid,
      uid: process.geteuid?.(),
      gid: process.getegid?.(),
    });
    near.close();
    far.close();
  });

  it('the groups are those of the process that connected', () => {
    const { near, far } = connectedPair();
    const expected = /^Groups:\t([\d ]*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]!.trim();
    assert.equal(near.peerGroups().join(' '), expected);
    near.close();
    far.close();
  });

  it('the pidfd (Linux 6.5) names the process, and each call makes a new CLOEXEC pidfd', () => {
    const { near, far } = connectedPair();
    const pidfd = near.peerPidfd();
    assert.ok(pidfd, 'this kernel is at least 6.5');
    assert.ok(isCloexec(pidfd.number));
    assert.match(
      readFileSync(`/proc/self/fdinfo/${pidfd.number}`, 'utf8'),
      new RegExp(`^Pid:\\t${process.pid}$`, 'm'),
    );
    pidfd.close();
    requireNoLeak(() => near.peerPidfd()?.close());
    near.close();
    far.close();
  });

  it('the security label is a string, or undefined without an LSM that labels sockets', () => {
    const { near, far } = connectedPair();
    const label = near.peerSecurityLabel();
    // The answer depends on this kernel; each must be well-formed.
    if (label !== undefined) assert.match(label, /^[\x20-\x7e]+$/);
    near.close();
    far.close();
  });

  it('the uid map is that of the peer’s process, and undefined after its exit', () => {
    const { near, far } = connectedPair();
    requireNoLeak(() => assert.equal(near.peerUidMap(), readFileSync('/proc/self/uid_map', 'latin1')));
    near.close();
    far.close();
    withDirectory((directory) => {
      const path = join(directory, 'socket');
      const listener = native.listen(path, 0o600, 1);
      const connect =
        'import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(sys.argv[1])';
      assert.equal(spawnSync('python3', ['-c', connect, path]).status, 0);
      const left = listener.accept()!;
      requireNoLeak(() => assert.equal(left.peerUidMap(), undefined));
      left.close();
      listener.close();
    });
  });
});

describe('inode', () => {
  it('is the socket’s inode, as fstat tells it', () => {
    const { near, far } = connectedPair();
    assert.equal(near.inode(), fstatSync(near.fd, { bigint: true }).ino);
    assert.notEqual(near.inode(), far.inode());
    near.close();
    far.close();
  });
});

describe('shutdown', () => {
  it('of the writing side is the end for the peer, which can still answer', () => {
    const { near, far } = connectedPair();
    near.shutdown('write');
    assert.deepEqual(far.peek(1), { kind: 'end' });
    assert.ok(far.send(Buffer.from('answer')));
    assert.equal(near.receive(10)?.data.toString(), 'answer');
    requireNativeError(() => near.send(Buffer.from('x')), 'EPIPE', 'sendmsg');
    near.close();
    far.close();
  });

  it('of the reading side is the end for this process, and of both is both', () => {
    const { near, far } = connectedPair();
    near.shutdown('read');
    assert.deepEqual(near.peek(1), { kind: 'end' });
    near.shutdown('both');
    assert.deepEqual(far.peek(1), { kind: 'end' });
    near.close();
    far.close();
  });

  it('of a connection that has gone succeeds', () => {
    const { near, far } = connectedPair();
    far.close();
    near.shutdown('both');
    near.shutdown('both');
    requireArgumentError(() => near.shutdown('sideways' as 'both'), 'how');
    near.close();
  });
});

describe('a closed socket', () => {
  it('answers EBADF to everything except close(), and names the call', () => {
    const { near, far } = connectedPair();
    near.close();
    near.close();
    assert.equal(near.fd, -1);
    requireNativeError(() => near.inode(), 'EBADF', 'fstat');
    requireNativeError(() => near.watch(1, () => undefined), 'EBADF', 'uv_poll_start');
    requireNativeError(() => near.accept(), 'EBADF', 'accept4');
    requireNativeError(() => near.peek(1), 'EBADF', 'recvmsg');
    requireNativeError(() => near.headCarriesFds(), 'EBADF', 'recvmsg');
    requireNativeError(() => near.receive(1), 'EBADF', 'recvmsg');
    requireNativeError(() => near.send(Buffer.of(1)), 'EBADF', 'sendmsg');
    requireNativeError(() => near.peerCredentials(), 'EBADF', 'getsockopt');
    requireNativeError(() => near.peerGroups(), 'EBADF', 'getsockopt');
    requireNativeError(() => near.peerPidfd(), 'EBADF', 'getsockopt');
    requireNativeError(() => near.peerSecurityLabel(), 'EBADF', 'getsockopt');
    requireNativeError(() => near.peerUidMap(), 'EBADF', 'getsockopt');
    requireNativeError(() => near.refuseFds(), 'EBADF', 'setsockopt');
    requireNativeError(() => near.shutdown('both'), 'EBADF', 'shutdown');
    requireNativeError(() => near.release(), 'EBADF', 'fcntl');
    near.watch(0);
    far.close();
  });

  it('leaves no descriptor after many sockets', () => {
    requireNoLeak(() => {
      const { near, far } = connectedPair();
      near.watch(1, () => undefined);
      near.close();
      far.close();
    });
  });
});

function listenOnTcp(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
  });
}

/** A copy of the descriptor that Node owns. */
function copyOf(server: Server): OwnedFd {
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const self = native.pidfdOpen(process.pid);
  const copy = native.pidfdGetfd(self, fd);
  self.close();
  return copy;
}
