import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  constants,
  fstatSync,
  mkdtempSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native, type OwnedFd, type SeqpacketSocket } from '../../src/native/binding.ts';
import {
  collect,
  collectUntil,
  countFds,
  isCloexec,
  isOpen,
  openNull,
  requireArgumentError,
  requireNativeError,
  requireNoLeak,
  withDirectory,
} from './support.ts';

describe('fileIdentities', () => {
  it('changes if the file is written to, replaced, made executable or removed, and stays the same otherwise', () => {
    withDirectory((directory) => {
      const path = join(directory, 'file');
      const identity = (): string => native.fileIdentities([path]);
      const seen = new Set([identity()]);
      const changes = [
        () => writeFileSync(path, 'one'),
        () => writeFileSync(path, 'two'),
        () => chmodSync(path, 0o755),
        () => {
          writeFileSync(`${path}.new`, 'two', { mode: 0o755 });
          const { atime, mtime } = statSync(path);
          utimesSync(`${path}.new`, atime, mtime);
          renameSync(`${path}.new`, path);
        },
        () => rmSync(path),
        () => symlinkSync('file', path),
      ];
      for (const [at, change] of changes.entries()) {
        change();
        assert.equal(identity(), identity());
        seen.add(identity());
        // After the removal, the identity is again that of the absent file.
        assert.equal(seen.size, at < 4 ? at + 2 : at + 1);
      }
      assert.equal(native.fileIdentities([path, '/dev/null']).split('\n').length, 3);
      requireArgumentError(() => native.fileIdentities('/' as unknown as string[]), 'paths');
    });
  });
});

describe('descriptors', () => {
  it('every call that makes a descriptor makes it CLOEXEC', () => {
    const { ours, theirs } = native.socketpair();
    const directory = native.open('/', constants.O_RDONLY | constants.O_DIRECTORY);
    const self = native.pidfdOpen(process.pid);
    const made: OwnedFd[] = [
      theirs,
      directory,
      self,
      native.duplicate(directory),
      native.pidfdGetfd(self, directory.number),
      native.memfd('cloexec', 1),
    ];
    assert.ok(isCloexec(ours.fd));
    for (const fd of made) {
      assert.ok(isCloexec(fd.number));
      fd.close();
    }
    ours.close();
  });

  it('a descriptor has one owner, which closes it once', () => {
    const fd = openNull();
    const { number } = fd;
    assert.ok(isOpen(number));
    fd.close();
    assert.equal(fd.number, -1);
    assert.ok(!isOpen(number));
    const next = openNull();
    assert.equal(next.number, number, 'the number is free again');
    fd.close();
    assert.ok(isOpen(number), 'a second close() does not touch the new owner of the number');
    next.close();
  });

  it('the garbage collector closes forgotten descriptors', async () => {
    await collect();
    const before = countFds();
    for (let index = 0; index < 20; index += 1) openNull();
    assert.ok(await collectUntil(() => countFds() <= before));
  });

  it('only the addon makes descriptors', () => {
    const fd = openNull();
    const { constructor: Made } = fd as unknown as { constructor: new (number: number) => OwnedFd };
    assert.throws(() => new Made(0), TypeError);
    const impostor = Object.create(Object.getPrototypeOf(fd)) as OwnedFd;
    requireArgumentError(() => native.duplicate(impostor), 'fd');
    const wrongClass = native.socketpair();
    requireArgumentError(() => native.duplicate(wrongClass.ours as unknown as OwnedFd), 'fd');
    wrongClass.ours.close();
    wrongClass.theirs.close();
    fd.close();
  });

  it("a closed descriptor is refused as an argument, by the parameter's name", () => {
    const closed = openNull();
    closed.close();
    requireArgumentError(() => native.adopt(closed), 'fd');
    requireArgumentError(() => native.duplicate(closed), 'fd');
    requireArgumentError(() => native.describeSocket(closed), 'fd');
    requireArgumentError(() => native.pidfdGetfd(closed, 0), 'pidfd');
    requireArgumentError(() => native.socketFile(closed), 'socket');
    requireArgumentError(() => native.adoptProcess(closed, 1), 'pidfd');
    requireArgumentError(() => native.notifyNow('READY=1', [closed]), 'fds[0]');
  });
});

describe('open', () => {
  it('opens a file with its mode', () => {
    withDirectory((path) => {
      const old = process.umask(0);
      const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants;
      const explicit = native.open(join(path, 'explicit'), O_CREAT | O_EXCL | O_WRONLY, 0o640);
      const private_ = native.open(join(path, 'private'), O_CREAT | O_EXCL | O_WRONLY);
      process.umask(old);
      assert.equal(fstatSync(explicit.number).mode & 0o7777, 0o640);
      assert.equal(fstatSync(private_.number).mode & 0o7777, 0o600, 'the owner alone, when nobody says more');
      writeFileSync(join(path, 'explicit'), 'text');
      const read = native.open(join(path, 'explicit'), O_RDONLY);
      assert.equal(readFileSync(read.number, 'utf8'), 'text');
      for (const fd of [explicit, private_, read]) fd.close();
    });
  });

  it('a failure tells the errno, the call and the path', () => {
    const error = requireNativeError(() => native.open('/nonexistent', 0), 'ENOENT', 'open');
    assert.match(error.message, /\/nonexistent/);
    assert.equal(error.errno, 2);
  });

  it('a path with a NUL, which the kernel would cut short, is refused', () => {
    requireArgumentError(() => native.open('/dev/null\0x', 0), 'path');
    requireArgumentError(() => native.open(1 as unknown as string, 0), 'path');
    requireArgumentError(() => native.open('/dev/null', -1), 'flags');
    requireArgumentError(() => native.open('/dev/null', 0, 0o10000), 'mode');
  });

  it('a failing open leaves no descriptor', () => {
    requireNoLeak(() => requireNativeError(() => native.open('/nonexistent', 0), 'ENOENT', 'open'));
  });
});

describe('memfd', () => {
  it('has the requested size, and cannot grow or shrink', () => {
    const fd = native.memfd('state', 8);
    assert.equal(fstatSync(fd.number).size, 8);
    assert.equal(writeSync(fd.number, Buffer.from('12345678'), 0, 8, 0), 8);
    assert.throws(
      () => writeSync(fd.number, Buffer.from('x'), 0, 1, 8),
      { code: 'EPERM' },
      'writing past the end',
    );
    const target = `/proc/self/fd/${fd.number}`;
    assert.throws(() => writeFileSync(target, 'truncates'), { code: 'EPERM' }, 'shrinking');
    const back = Buffer.alloc(9);
    assert.equal(readSync(fd.number, back, 0, 9, 0), 8);
    assert.equal(back.toString('latin1', 0, 8), '12345678');
    fd.close();
  });

  it('refuses a wrong size or name, and leaves no descriptor', () => {
    requireNoLeak(() => {
      requireArgumentError(() => native.memfd('state', -1), 'size');
      requireArgumentError(() => native.memfd('a\0b', 1), 'name');
      // memfd_create(2): at most 249 bytes.
      requireNativeError(() => native.memfd('n'.repeat(250), 1), 'EINVAL', 'memfd_create');
    });
  });
});

describe('pidfdOpen and pidfdGetfd', () => {
  it('copy a descriptor that refers to the same open file', () => {
    const self = native.pidfdOpen(process.pid);
    const memory = native.memfd('shared', 4);
    const copy = native.pidfdGetfd(self, memory.number);
    assert.notEqual(copy.number, memory.number);
    assert.equal(fstatSync(copy.number).ino, fstatSync(memory.number).ino);
    for (const fd of [self, memory, copy]) fd.close();
  });

  it('report a missing process or descriptor, and leave no descriptor', () => {
    const self = native.pidfdOpen(process.pid);
    const gone = openNull();
    const { number } = gone;
    gone.close();
    requireNoLeak(() => {
      // The largest pid that Linux can have is 2^22 - 1.
      requireNativeError(() => native.pidfdOpen(2 ** 30), 'ESRCH', 'pidfd_open');
      requireNativeError(() => native.pidfdGetfd(self, number), 'EBADF', 'pidfd_getfd');
    });
    requireArgumentError(() => native.pidfdOpen(0), 'pid');
    self.close();
  });
});

describe('peersEnd', () => {
  async function ends(
    use: (accepted: SeqpacketSocket, connected: SeqpacketSocket) => Promise<void>,
  ): Promise<void> {
    const directory = mkdtempSync(join(tmpdir(), 'peers-end-'));
    const listener = native.listen(join(directory, 'socket'), 0o600, 1);
    const connected = native.connect(join(directory, 'socket'));
    const accepted = listener.accept()!;
    try {
      await use(accepted, connected);
    } finally {
      for (const each of [accepted, connected, listener]) each.close();
      rmSync(directory, { recursive: true });
    }
  }

  async function endOf(accepted: SeqpacketSocket): Promise<OwnedFd | undefined> {
    const [copy, pidfd] = [accepted.copy(), native.pidfdOpen(process.pid)];
    const self = native.open('/proc/self', constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      return await native.peersEnd(copy, pidfd, self);
    } finally {
      for (const each of [copy, pidfd, self]) each.close();
    }
  }

  it('keeps a connection open after the process that connected has closed its end', async () => {
    await ends(async (accepted, connected) => {
      const end = await endOf(accepted);
      assert.equal(fstatSync(end!.number).ino, Number(connected.inode()));
      assert.equal(isCloexec(end!.number), true);
      connected.close();
      assert.equal(accepted.send(Buffer.from('late')), true);
      const other = native.adopt(native.duplicate(end!));
      assert.equal(other.receive(16)?.data.toString(), 'late');
      other.close();
      end!.close();
    });
  });

  it('lets its queue be read, and leaves the options of the socket as their owner has set them', async () => {
    await ends(async (accepted, connected) => {
      const end = (await endOf(accepted))!;
      // Packets that arrive from here on carry their sender's credentials.
      const owners = native.adopt(connected.copy(), true);
      assert.equal(native.headOf(end, 16), undefined);
      accepted.send(Buffer.from('answer'));
      assert.equal(native.headOf(end, 16)?.toString(), 'answer');
      assert.equal(native.headOf(end, 5), undefined);
      accepted.send(Buffer.from('next'));
      owners.receive(16);
      const head = owners.peek(16);
      assert.equal(head.kind === 'packet' && !head.foreign, true);
      for (const each of [end, owners]) each.close();
    });
  });

  it('is undefined if the process has closed its end, or was another', async () => {
    await ends(async (accepted, connected) => {
      connected.close();
      assert.equal(await endOf(accepted), undefined);
    });
    await ends(async (accepted) => {
      const child = spawn('sleep', ['60']);
      const pidfd = native.pidfdOpen(child.pid!);
      const directory = native.open(`/proc/${child.pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
      const copy = accepted.copy();
      assert.equal(await native.peersEnd(copy, pidfd, directory), undefined);
      for (const each of [copy, pidfd, directory]) each.close();
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
  });
});
