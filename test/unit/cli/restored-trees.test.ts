import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { restoredTrees } from '../../../src/cli/restored-trees.ts';

describe('the restored trees of users', () => {
  it('are found in the units of their callers and as scopes, and a name of a user’s own is not printed as it is', async () => {
    const root = mkdtempSync(join(tmpdir(), 'criu-trees-'));
    try {
      for (const path of [
        'system.slice/job1.service/criu-restore-0123456789ab-1',
        'system.slice/job1.service/criu-engine-0123456789ab-2',
        'system.slice/cron.service',
        'user.slice/user-1500.slice/criu-restore-capable-0123456789ab-3.scope',
        'user.slice/user-1500.slice/user@1500.service/\u001b[2J/criu-page-server-0123456789ab-4',
      ])
        mkdirSync(join(root, path), { recursive: true });
      writeFileSync(join(root, 'criu-restore-0123456789ab-5'), '');
      assert.deepEqual(await restoredTrees(root), [
        '(a cgroup with another name)/criu-page-server-0123456789ab-4',
        'criu-restore-capable-0123456789ab-3.scope',
        'job1.service/criu-restore-0123456789ab-1',
      ]);
      assert.deepEqual(await restoredTrees(join(root, 'nowhere')), []);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
