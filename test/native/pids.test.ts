/** The program of criu-pids.service, with files in place of the kernel's. */
import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../native/build/Release/criu-pids', import.meta.url));

describe('criu-pids', () => {
  let kernel: string;

  beforeEach(() => {
    kernel = mkdtempSync(join(tmpdir(), 'criu-pids-'));
  });

  afterEach(() => rmSync(kernel, { recursive: true }));

  /** @returns the counter afterwards. */
  function counterAfter(counter: number, pids: number): number {
    writeFileSync(join(kernel, 'pid_max'), `${pids}\n`);
    writeFileSync(join(kernel, 'ns_last_pid'), `${counter}\n`);
    const { status, stderr } = spawnSync(program, [kernel], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return Number(readFileSync(join(kernel, 'ns_last_pid'), 'utf8'));
  }

  for (const pids of [32768, 99999, 4194304]) {
    it(`moves the counter to a random place in the upper half of ${pids} pids, before the last eighth`, () => {
      const places = Array.from({ length: 100 }, () => counterAfter(700, pids));
      for (const place of places)
        assert.ok(place >= Math.floor(pids / 2) && place < (pids * 7) / 8, `${place}`);
      // Of a hundred places among at least 12,000, more than half are distinct, but for one run in more than 10^50.
      assert.ok(new Set(places).size > 50, places.join(' '));
      // Each half of the range is met, but for one run in 10^29.
      const middle = (pids / 2 + (pids * 7) / 8) / 2;
      assert.ok(places.some((place) => place < middle) && places.some((place) => place >= middle));
    });
  }

  it('never moves the counter back', () => {
    for (const counter of [16384, 30000, 32767]) assert.equal(counterAfter(counter, 32768), counter);
    for (const counter of [2097152, 4000000]) assert.equal(counterAfter(counter, 4194304), counter);
  });

  it('leaves a counter with less room alone', () => {
    for (const pids of [301, 4096, 32767]) assert.equal(counterAfter(300, pids), 300);
  });

  it('fails, and says so, where the kernel has no counter', () => {
    writeFileSync(join(kernel, 'pid_max'), '32768\n');
    const { status, stderr } = spawnSync(program, [kernel], { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /^criu-pids: .*ns_last_pid: No such file or directory$/m);
  });
});
