import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OpenFiles } from '../../../src/cli/job/files.ts';

describe('the open files of a job in a checkpoint', () => {
  const openAt = (path: string): number =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === path;
      } catch {
        return false;
      }
    }).length;

  it('take a bounded number of descriptors, are synced, and are closed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'open-files-'));
    try {
      const path = join(directory, 'out');
      writeFileSync(path, 'written');
      const files = new OpenFiles();
      for (let more = 0; more < 1000; more += 1) files.add(path);
      assert.equal(openAt(path), 256);
      assert.equal(await files.sync(), undefined);
      files.close();
      assert.equal(openAt(path), 0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('are fewer where one cannot be opened, or has no sync', async () => {
    const files = new OpenFiles();
    files.add('/nowhere');
    files.add('/proc/self/status');
    assert.equal(await files.sync(), undefined);
    files.close();
  });
});
