import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { boundPath } from '../../src/look/sockets.ts';
import { native } from '../../src/native/binding.ts';
import { openNull, requireNativeError, requireNoLeak } from './support.ts';

const ends = `import os, time
r, w = os.pipe(); os.close(w)
r2, w2 = os.pipe(); os.close(r2)
r3, w3 = os.pipe()
os.write(1, f"{r} {w2} {r3} {w3}".encode())
time.sleep(1000)`;

describe('the other end of a pipe', () => {
  it('is there or not, whichever end is asked, and the question changes nothing', async () => {
    const holder = spawn('python3', ['-c', ends], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [printed] = (await once(holder.stdout, 'data')) as [Buffer];
      const [read, write, ...both] = printed
        .toString()
        .split(' ')
        .map((fd) => `/proc/${holder.pid}/fd/${fd}`);
      for (const _ of ['first', 'again']) {
        requireNoLeak(() => {
          assert.equal(native.pipeIsWhole(read!, false), false);
          assert.equal(native.pipeIsWhole(write!, true), false);
          assert.equal(native.pipeIsWhole(both[0]!, false), true);
          assert.equal(native.pipeIsWhole(both[1]!, true), true);
        });
      }
      requireNativeError(() => native.pipeIsWhole(`/proc/${holder.pid}/fd/99999`, false), 'ENOENT', 'open');
    } finally {
      holder.kill('SIGKILL');
    }
  });
});

const bound = `import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()
print(s.fileno(), flush=True)
time.sleep(1000)`;

describe('the file of a Unix socket of another process', () => {
  it('is told root by the path that it has now, and as removed, without a descriptor left', async () => {
    assert.equal(process.geteuid!(), 0, 'this test runs as root');
    const directory = realpathSync(mkdtempSync(join(tmpdir(), 'look-socket-')));
    const path = join(directory, 's');
    const holder = spawn('python3', ['-c', bound, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [printed] = (await once(holder.stdout, 'data')) as [Buffer];
      const fd = Number(printed.toString());
      const descriptor = { pid: holder.pid!, fd, link: readlinkSync(`/proc/${holder.pid}/fd/${fd}`) };
      assert.equal(boundPath(descriptor), path);
      mkdirSync(join(directory, 'else'));
      const moved = join(directory, 'else', 't');
      renameSync(path, moved);
      writeFileSync(path, '');
      requireNoLeak(() => assert.equal(boundPath(descriptor), moved));
      unlinkSync(moved);
      assert.equal(boundPath(descriptor), `${moved} (deleted)`);
      requireNoLeak(() => assert.equal(boundPath({ ...descriptor, fd: 99_999 }), undefined));
      // Another file has the number since it was read.
      requireNoLeak(() => assert.equal(boundPath({ ...descriptor, link: 'socket:[1]' }), undefined));
    } finally {
      holder.kill('SIGKILL');
      await once(holder, 'exit');
      rmSync(directory, { recursive: true });
    }
  });

  it('is no answer for another kind of descriptor', () => {
    const other = openNull();
    requireNoLeak(() => requireNativeError(() => native.socketFile(other), 'ENOTTY', 'ioctl'));
    other.close();
  });
});
