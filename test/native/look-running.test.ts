import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { look } from '../../src/look/look.ts';
import { eventually } from './support.ts';

/** Closes what this process may have inherited itself, names a file, then starts three processes again and again. */
const pipelines = `
for fd in /proc/self/fd/*; do
  fd=\${fd##*/}
  [ "$fd" -le 2 ] || [ "$fd" -ge 255 ] || eval "exec $fd>&-"
done
: >"$0"
while :; do echo x | cat | tr a b; done
`;

describe('a look at a shell that starts pipelines without end', () => {
  it('says each time that it comes back: the processes of a moment are in the tree', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'look-running-'));
    const begun = join(directory, 'begun');
    const { pid } = spawn('bash', ['-c', pipelines, begun], { stdio: 'ignore', detached: true });
    try {
      await eventually(() => existsSync(begun));
      let largest = 0;
      for (let looks = 0; looks < 100; looks += 1) {
        const { facts, findings } = (await look(pid!, String, 'without-credentials'))!;
        assert.deepEqual(
          findings.filter(({ verdict }) => verdict.verdict === 'does-not-come-back'),
          [],
        );
        largest = Math.max(largest, facts.processes.length);
      }
      assert.ok(largest > 1, `the look has seen ${largest} processes`);
    } finally {
      process.kill(-pid!, 'SIGKILL');
      rmSync(directory, { recursive: true });
    }
  });
});
