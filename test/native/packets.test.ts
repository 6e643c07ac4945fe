import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { constants, fstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { native, type OwnedFd } from '../../src/native/binding.ts';
import {
  connectedPair,
  countFds,
  isCloexec,
  noMoreFdsThan,
  openNull,
  requireArgumentError,
  requireNativeError,
  requireNoLeak,
  withDirectory,
} from './support.ts';

const MOST_FDS = 253; // SCM_MAX_FD

/** The same descriptor, many times. */
function many(fd: OwnedFd, count: number): OwnedFd[] {
  return Array.from({ length: count }, () => fd);
}

describe('peek', () => {
  it('shows the packet at the head and leaves it queued, however often it is called', () => {
    const { near, far } = connectedPair();
    far.send(Buffer.from('first'));
    far.send(Buffer.from('second'));
    for (let round = 0; round < 3; round += 1) {
      assert.deepEqual(near.peek(5), { kind: 'packet', size: 5, data: Buffer.from('first') });
    }
    assert.equal(near.receive(10)?.data.toString(), 'first');
    assert.equal(near.receive(10)?.data.toString(), 'second');
    assert.deepEqual(near.peek(5), { kind: 'nothing' });
    near.close();
    far.close();
  });

  it('tells the true size of a packet above the limit, without its bytes', () => {
    const { near, far } = connectedPair();
    far.send(Buffer.alloc(1000));
    assert.deepEqual(near.peek(999), { kind: 'packet', size: 1000, data: undefined });
    assert.deepEqual(near.peek(0), { kind: 'packet', size: 1000, data: undefined });
    const whole = near.peek(1000);
    assert.ok(whole.kind === 'packet' && whole.data?.length === 1000);
    near.close();
    far.close();
  });

  it('shows every byte of packets around and above the size of the first attempt', () => {
    const { near, far } = connectedPair();
    for (const size of [65535, 65536, 65537, 150000]) {
      const data = Buffer.alloc(size, size % 251);
      data[size - 1] = 7;
      assert.ok(far.send(data));
      const peeked = near.peek(200000);
      assert.ok(peeked.kind === 'packet' && peeked.data?.equals(data));
      assert.ok(near.receive(200000)?.data.equals(data));
    }
    near.close();
    far.close();
  });

  it('tells an empty packet from the end, also if the peer has left', () => {
    const { near, far } = connectedPair();
    assert.deepEqual(near.peek(10), { kind: 'nothing' });
    far.send(Buffer.alloc(0));
    assert.deepEqual(near.peek(10), { kind: 'empty-packet' });
    assert.equal(near.receive(10)?.data.length, 0);
    assert.deepEqual(near.peek(10), { kind: 'nothing' });
    far.send(Buffer.alloc(0));
    far.send(Buffer.alloc(0));
    far.send(Buffer.from('last'));
    far.close();
    assert.deepEqual(near.peek(10), { kind: 'empty-packet' });
    assert.equal(near.receive(10)?.data.length, 0);
    assert.deepEqual(near.peek(10), { kind: 'empty-packet' });
    assert.equal(near.receive(10)?.data.length, 0);
    assert.equal(near.receive(10)?.data.toString(), 'last');
    assert.deepEqual(near.peek(10), { kind: 'end' });
    assert.deepEqual(near.peek(10), { kind: 'end' });
    assert.equal(near.receive(10), undefined);
    near.close();
  });

  it('installs no descriptor of the packet', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    far.send(Buffer.from('with'), many(fd, 10));
    requireNoLeak(() => near.peek(10));
    requireNoLeak(() => assert.equal(near.headCarriesFds(), true));
    near.close();
    far.close();
    fd.close();
  });

  it('still shows the packets of a peer that closed without reading ours', () => {
    const { near, far } = connectedPair();
    near.send(Buffer.from('never read'));
    far.send(Buffer.from('answer'));
    far.close(); // The kernel reports ECONNRESET now, once, ahead of the answer.
    assert.deepEqual(near.peek(10), { kind: 'packet', size: 6, data: Buffer.from('answer') });
    assert.equal(near.receive(10)?.data.toString(), 'answer');
    assert.deepEqual(near.peek(10), { kind: 'end' });
    near.close();
  });

  it('tells a peer that closed with a packet of ours unread from a peer that had read all', () => {
    for (const reads of [true, false]) {
      const { near, far } = connectedPair();
      near.send(Buffer.from('request'));
      if (reads) far.receive(10);
      far.close();
      assert.equal(near.peerLeftUnread, false, 'before anybody looked');
      assert.deepEqual(near.peek(10), { kind: 'end' });
      assert.equal(near.peerLeftUnread, !reads);
      near.close();
    }
  });

  it('fails on a socket that is not connected', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 1);
      requireNativeError(() => listener.peek(1), 'ENOTCONN', 'recvmsg');
      requireNativeError(() => listener.send(Buffer.of(1)), 'ENOTCONN', 'sendmsg');
      listener.close();
    });
  });

  it('refuses a wrong limit', () => {
    const { near, far } = connectedPair();
    for (const limit of [-1, 0.5, Number.POSITIVE_INFINITY]) {
      requireArgumentError(() => near.peek(limit), 'limit');
      requireArgumentError(() => near.receive(limit), 'limit');
    }
    near.close();
    far.close();
  });
});

describe('headCarriesFds', () => {
  it('is about the packet at the head only', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    assert.equal(near.headCarriesFds(), false, 'nothing waits');
    far.send(Buffer.from('without'));
    far.send(Buffer.from('with'), [fd]);
    far.send(Buffer.alloc(0), [fd]);
    far.send(Buffer.alloc(0));
    const seen: boolean[] = [];
    for (let index = 0; index < 4; index += 1) {
      seen.push(near.headCarriesFds());
      for (const received of near.receive(10)?.fds ?? []) received.close();
    }
    assert.deepEqual(seen, [false, true, true, false]);
    far.close();
    assert.equal(near.headCarriesFds(), false, 'the end');
    near.close();
    fd.close();
  });

  it('is right even if a socket unit asks for credentials with every packet', () => {
    // PassCredentials= sets SO_PASSCRED on the listener, and accepted sockets inherit it. Without a control buffer every packet
    // is marked then, as if it carried something.
    const script = `
import array, socket, sys
near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
near.setsockopt(socket.SOL_SOCKET, 16, 1)
far.send(b"plain")
socket.socket(fileno=3).sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [near.fileno(), far.fileno()]))])
`;
    const { ours, theirs } = native.socketpair();
    const done = native.spawn({
      file: '/usr/bin/env',
      argv: ['env', 'python3', '-c', script],
      env: [`PATH=${process.env.PATH}`],
      fds: [{ source: theirs, target: 3 }],
    });
    let packet = ours.receive(10);
    while (packet === undefined) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      packet = ours.receive(10);
    }
    const [nearFd, farFd] = packet.fds;
    const near = native.adopt(nearFd!);
    assert.equal(near.headCarriesFds(), false);
    const null_ = openNull();
    const far = native.adopt(farFd!);
    far.send(Buffer.from('with'), [null_]);
    assert.equal(near.receive(10)?.data.toString(), 'plain');
    assert.equal(near.headCarriesFds(), true);
    for (const closable of [near, far, null_, ours, theirs, done]) closable.close();
  });
});

describe('an accepted socket', () => {
  const script = `
import array, os, socket, sys
sender = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sender.connect(sys.argv[1])
def send(uid, gid, data, fds=[]):
    if os.fork() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sender.sendmsg([data], rights)
        os._exit(0)
    os.wait()
send(0, 0, b"own")
send(65534, 65534, b"user")
send(0, 65534, b"group")
send(65534, 0, b"")
send(0, 0, b"")
send(0, 0, b"with", [0])
send(0, 0, bytes(100000))
sender.send(b"last")
`;

  it('tells for each packet whether the user, and the process, that connected has sent it', () => {
    withDirectory((directory) => {
      const path = join(directory, 'socket');
      const listener = native.listen(path, 0o666, 5);
      execFileSync('python3', ['-c', script, path]);
      const near = listener.accept()!;
      // Adopted as by a restarted service.
      for (const socket of [near, native.adopt(near.copy(), true)]) {
        assert.deepEqual(socket.peek(5), {
          kind: 'packet',
          size: 3,
          data: Buffer.from('own'),
          passedOn: true,
        });
        assert.equal(socket.headCarriesFds(), false);
      }
      assert.equal(near.receive(5, 0)?.data.toString(), 'own');
      const seen: unknown[] = [];
      for (let left = 4; left > 0; left -= 1) {
        const head = near.peek(0);
        seen.push([head.kind, 'foreign' in head && head.foreign, near.headCarriesFds(), near.discard()]);
      }
      assert.deepEqual(seen, [
        ['packet', true, false, true],
        ['packet', true, false, true],
        ['empty-packet', true, false, true],
        ['empty-packet', false, false, true],
      ]);
      assert.equal(near.headCarriesFds(), true);
      assert.equal(near.discard(), false);
      const fds = near.receive(10, 1)!.fds;
      assert.equal(fds.length, 1);
      const large = near.peek(200_000);
      assert.ok(large.kind === 'packet' && large.data?.equals(Buffer.alloc(100_000)) && !large.foreign);
      assert.equal(near.discard(), true);
      // From the process that has connected.
      assert.deepEqual(near.peek(5), { kind: 'packet', size: 4, data: Buffer.from('last') });
      assert.equal(near.discard(), true);
      assert.deepEqual(near.peek(5), { kind: 'end' });
      for (const closable of [near, listener, ...fds]) closable.close();
    });
  });
});

describe('discard', () => {
  it('discards a packet of any size, unless it carries a descriptor', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    for (const size of [0, 10, 150_000]) far.send(Buffer.alloc(size));
    far.send(Buffer.from('with'), [fd]);
    requireNoLeak(() => {
      for (let left = 3; left > 0; left -= 1) assert.equal(near.discard(), true);
      assert.equal(near.discard(), false);
    }, 1);
    assert.equal(near.receive(10)?.data.toString(), 'with');
    assert.equal(near.discard(), false, 'nothing waits');
    far.close();
    assert.equal(near.discard(), false, 'the end');
    near.close();
    fd.close();
  });
});

describe('headTerminal', () => {
  const { O_RDWR, O_NOCTTY } = constants;
  const O_PATH = 0o10000000;
  const index = ({ number }: OwnedFd): string | undefined =>
    /^tty-index:\t\d+$/m.exec(readFileSync(`/proc/self/fdinfo/${number}`, 'utf8'))?.[0];

  it('gives a copy of a terminal’s master, and leaves the packet queued', async () => {
    const { near, far } = connectedPair();
    const master = native.open('/dev/ptmx', O_RDWR | O_NOCTTY);
    far.send(Buffer.from('terminal'), [master]);
    const before = countFds();
    for (let round = 0; round < 2; round += 1) {
      const copy = near.headTerminal()!;
      assert.equal(index(copy), index(master));
      assert.ok(isCloexec(copy.number));
      copy.close();
      assert.equal(copy.number, -1);
    }
    assert.equal(near.headCarriesFds(), true);
    await noMoreFdsThan(before);
    for (const closable of [near, far, master]) closable.close();
  });

  it('gives no other descriptor, alone or beside a master, and nothing if no packet waits', async () => {
    const { near, far } = connectedPair();
    const master = native.open('/dev/ptmx', O_RDWR | O_NOCTTY);
    // Its device is that of a terminal, but nothing was ever opened.
    const path = native.open('/dev/ptmx', O_PATH);
    const others = [openNull(), native.memfd('file', 1), path];
    const before = countFds();
    assert.equal(near.headTerminal(), undefined);
    for (const fds of [...others.map((fd) => [fd]), [master, master], [master, others[0]!], []]) {
      far.send(Buffer.from('x'), fds);
      assert.equal(near.headTerminal(), undefined);
      near.receive(1)?.fds.forEach((fd) => {
        fd.close();
      });
    }
    await noMoreFdsThan(before);
    far.close();
    assert.equal(near.headTerminal(), undefined);
    for (const closable of [near, master, ...others]) closable.close();
  });
});

describe('receive', () => {
  it('is undefined if no packet waits, and at the end', () => {
    const { near, far } = connectedPair();
    assert.equal(near.receive(10), undefined);
    far.close();
    assert.equal(near.receive(10), undefined);
    near.close();
  });

  it('gives CLOEXEC descriptors, in order, of the files that were sent', () => {
    const { near, far } = connectedPair();
    const sent = [native.memfd('one', 1), native.memfd('two', 2), native.memfd('three', 3)];
    assert.ok(far.send(Buffer.from('three'), sent));
    const packet = near.receive(10);
    assert.deepEqual(
      packet?.fds.map((fd) => fstatSync(fd.number).ino),
      sent.map((fd) => fstatSync(fd.number).ino),
    );
    assert.ok(packet?.fds.every((fd) => isCloexec(fd.number)));
    for (const closable of [near, far, ...sent, ...(packet?.fds ?? [])]) closable.close();
  });

  it('takes as many descriptors as a packet can carry, if allowed', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    assert.ok(far.send(Buffer.from('most'), many(fd, MOST_FDS)));
    const packet = near.receive(10, MOST_FDS);
    assert.equal(packet?.fds.length, MOST_FDS);
    for (const closable of [near, far, fd, ...(packet?.fds ?? [])]) closable.close();
  });

  it('closes the descriptors of a packet with too many, consumes it and throws ETOOMANYREFS', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    // Odd and even: the padding of a control message would have room for another descriptor.
    for (const most of [0, 1, 2, 3, 16]) {
      requireNoLeak(() => {
        far.send(Buffer.from('more'), many(fd, most + 1));
        requireNativeError(() => near.receive(10, most), 'ETOOMANYREFS', 'recvmsg');
        assert.deepEqual(near.peek(1), { kind: 'nothing' });
      }, 10);
    }
    far.send(Buffer.from('more'), many(fd, 17));
    requireNativeError(() => near.receive(10), 'ETOOMANYREFS', 'recvmsg');
    requireArgumentError(() => near.receive(10, MOST_FDS + 1), 'maxFds');
    for (const closable of [near, far, fd]) closable.close();
  });

  it('consumes a packet above the limit, closes its descriptors and throws EMSGSIZE', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    requireNoLeak(() => {
      far.send(Buffer.alloc(11), [fd, fd]);
      const error = requireNativeError(() => near.receive(10), 'EMSGSIZE', 'recvmsg');
      assert.match(error.message, /11 bytes/);
      assert.deepEqual(near.peek(1), { kind: 'nothing' });
    });
    for (const closable of [near, far, fd]) closable.close();
  });

  it('throws EMFILE if the descriptor table is full, and closes the descriptors that did fit', () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    far.send(Buffer.from('four'), many(fd, 4));
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))![1]!;
    const limit = (value: string | number) =>
      execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${value}:`]);
    const fillers: OwnedFd[] = [];
    const highest = Math.max(near.fd, far.fd, fd.number);
    limit(highest + 40);
    try {
      try {
        for (;;) fillers.push(openNull());
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'EMFILE');
      }
      fillers.pop()?.close();
      fillers.pop()?.close();
      requireNativeError(() => near.receive(10), 'EMFILE', 'recvmsg');
      // The two free numbers are free again.
      fillers.push(openNull(), openNull());
      requireNativeError(openNull, 'EMFILE', 'open');
    } finally {
      for (const filler of fillers) filler.close();
      limit(soft);
    }
    assert.deepEqual(near.peek(10), { kind: 'nothing' });
    for (const closable of [near, far, fd]) closable.close();
  });
});

describe('send', () => {
  it('takes any Uint8Array, with its own bounds', () => {
    const { near, far } = connectedPair();
    const bytes = new Uint8Array([1, 2, 3, 4, 5]);
    far.send(bytes.subarray(1, 4));
    assert.deepEqual([...near.receive(10)!.data], [2, 3, 4]);
    requireArgumentError(() => far.send('text' as unknown as Uint8Array), 'data');
    requireArgumentError(() => far.send(new Uint16Array(2) as unknown as Uint8Array), 'data');
    near.close();
    far.close();
  });

  it('is false if the queue is full, and nothing was sent', () => {
    const { near, far } = connectedPair();
    let sent = 0;
    while (far.send(Buffer.alloc(1000, sent))) sent += 1;
    assert.ok(sent > 0);
    assert.equal(far.send(Buffer.alloc(1000)), false);
    let received = 0;
    for (let packet = near.receive(1000); packet; packet = near.receive(1000)) {
      assert.equal(packet.data[0], received % 256);
      received += 1;
    }
    assert.equal(received, sent);
    near.close();
    far.close();
  });

  it('to a peer that has left is EPIPE, without a signal', () => {
    const { near, far } = connectedPair();
    near.close();
    requireNativeError(() => far.send(Buffer.of(1)), 'EPIPE', 'sendmsg');
    far.close();
  });

  it('of more than the socket can ever hold is EMSGSIZE', () => {
    const { near, far } = connectedPair();
    requireNativeError(() => far.send(Buffer.alloc(16 * 1024 * 1024)), 'EMSGSIZE', 'sendmsg');
    assert.deepEqual(near.peek(1), { kind: 'nothing' });
    near.close();
    far.close();
  });

  it("keeps the sender's descriptors and checks all of them before anything is sent", () => {
    const { near, far } = connectedPair();
    const fd = openNull();
    const closed = openNull();
    closed.close();
    requireArgumentError(() => far.send(Buffer.of(1), [fd, closed]), 'fds[1]');
    requireArgumentError(() => far.send(Buffer.of(1), [fd, 3 as unknown as OwnedFd]), 'fds[1]');
    requireArgumentError(() => far.send(Buffer.of(1), many(fd, MOST_FDS + 1)), 'fds');
    requireArgumentError(() => far.send(Buffer.of(1), 'fds' as unknown as OwnedFd[]), 'fds');
    assert.deepEqual(near.peek(1), { kind: 'nothing' });
    far.send(Buffer.of(1), [fd]);
    fstatSync(fd.number);
    for (const received of near.receive(1)!.fds) received.close();
    for (const closable of [near, far, fd]) closable.close();
  });
});

describe('refuseFds', () => {
  it('makes the kernel refuse packets with descriptors (Linux 6.16), for accepted sockets too', () => {
    withDirectory((directory) => {
      const listener = native.listen(join(directory, 'socket'), 0o600, 1);
      const refused = listener.refuseFds();
      const [major, minor] = readFileSync('/proc/sys/kernel/osrelease', 'utf8').split('.').map(Number) as [
        number,
        number,
      ];
      assert.equal(
        refused,
        major > 6 || (major === 6 && minor >= 16),
        'exactly the kernels that know SO_PASSRIGHTS',
      );
      const caller = native.connect(join(directory, 'socket'));
      const session = listener.accept()!;
      const fd = openNull();
      if (refused) requireNativeError(() => caller.send(Buffer.of(1), [fd]), 'EPERM', 'sendmsg');
      assert.ok(caller.send(Buffer.of(1)));
      assert.equal(session.headCarriesFds(), false);
      for (const closable of [listener, caller, session, fd]) closable.close();
    });
  });
});

describe('a dialog of many packets with descriptors', () => {
  it('leaves no descriptor', async () => {
    const { near, far } = connectedPair();
    const before = countFds();
    for (let round = 0; round < 200; round += 1) {
      const fd = openNull();
      far.send(Buffer.from('x'), [fd, fd]);
      fd.close();
      for (const received of near.receive(1)!.fds) received.close();
    }
    await noMoreFdsThan(before);
    near.close();
    far.close();
  });

  it('closes the descriptors of unread packets together with the sockets', () => {
    requireNoLeak(() => {
      const { near, far } = connectedPair();
      const fd = openNull();
      far.send(Buffer.from('x'), [fd, fd]);
      for (const closable of [near, far, fd]) closable.close();
    });
  });
});
