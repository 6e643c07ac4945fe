import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { native } from '../../src/native/binding.ts';
import { requireNativeError, requireNoLeak } from './support.ts';

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
