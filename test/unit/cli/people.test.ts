import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lookAt } from '../../../src/cli/people.ts';

describe('the owner of a process, in words', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criuctl-people-'));
  after(() => rmSync(directory, { recursive: true }));

  it('is read from the kernel’s line, whatever name the process has', async () => {
    chmodSync(directory, 0o755);
    const program = join(directory, 'a\rUid:\t0');
    copyFileSync('/bin/sleep', program);
    const child = spawn(program, ['1000'], { uid: 65534 });
    await new Promise((resolve) => child.once('spawn', resolve));
    const { uid, name } = lookAt(child.pid!)!;
    child.kill('SIGKILL');
    assert.deepEqual([uid, name], [65534, 'a Uid: 0']);
  });

  it('is unknown if there is no such process', () => {
    assert.equal(lookAt(2 ** 22 + 1), undefined);
  });
});
