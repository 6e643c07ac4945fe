/** The setup of the machines on which the system tests run. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const bench = join(import.meta.dirname, '..', '..', 'bench');

describe('the setup of the machines', () => {
  let cache: string;
  beforeEach(() => {
    cache = mkdtempSync(join(tmpdir(), 'bench-setup-'));
  });
  afterEach(() => rmSync(cache, { recursive: true }));

  function bash(...argv: string[]): { readonly status: number | null; readonly stderr: string } {
    return spawnSync('bash', argv, {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: cache, CRIU_SERVICE_CACHE: cache },
    });
  }

  it('names all of its options where an argument is wrong', () => {
    const { status, stderr } = bash(join(bench, 'setup'), 'nonsense');
    assert.equal(status, 1);
    assert.match(stderr, /usage: setup \[--suite SUITE\] \[--packages FILE\] \[container\|vm\|all\]/);
  });

  /** @param lock a command that holds the image meanwhile. */
  function removed(lock = ''): string[] {
    const list = join(cache, 'list');
    writeFileSync(list, 'htcondor\n');
    const script = [
      'set -euo pipefail',
      `bench=${bench}`,
      '. "$bench/lib/common.sh"',
      'mkdir -p "$image/root" "$image/packages-other" "$image/packages-other-vm" "$machine_disk"',
      lock,
      'remove_other_packages',
    ];
    const { status, stderr } = bash('-c', script.join('\n'), 'setup', '--packages', list);
    assert.equal(status, 0, stderr);
    const image = readdirSync(cache).find((name) => name.startsWith('bench-trixie-'))!;
    return readdirSync(join(cache, image)).map((name) =>
      name.replace(/packages-[0-9a-f]{16}/, 'packages-this'),
    );
  }

  it('removes copies with other packages, and keeps the disk of this copy', () => {
    assert.deepEqual(removed().sort(), ['packages-this-vm', 'root']);
  });

  it('removes no copy while a machine is running', () => {
    assert.deepEqual(removed('hold_image').sort(), [
      'packages-other',
      'packages-other-vm',
      'packages-this-vm',
      'root',
    ]);
  });
});
