import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { isOutdated, keptKerndat } from '../../../src/engine/kerndat.ts';

const at = (mtimeNs: bigint, ctimeNs: bigint) => ({ mtimeNs, ctimeNs });

describe('the kernel facts for confined engines', () => {
  it('are made if they are missing, and again for a criu that was installed later, whatever its mtime', () => {
    assert.equal(isOutdated(undefined, at(1n, 2n)), true);
    assert.equal(isOutdated(at(5n, 5n), at(1n, 6n)), true);
    assert.equal(isOutdated(at(5n, 5n), at(9n, 4n)), false);
  });

  it('are in the directory that the launcher and the unit name', () => {
    const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
    const directory = dirname(keptKerndat);
    assert.ok(read('native/launcher/launcher.cc').includes(`"XDG_RUNTIME_DIR=${directory}"`));
    const unit = read('units/criu-kerndat.service').replaceAll('%t', '/run');
    assert.match(unit, new RegExp(`^Environment=XDG_RUNTIME_DIR=${directory}$`, 'm'));
    assert.match(unit, new RegExp(`^ExecStartPost=-chmod 644 ${keptKerndat}$`, 'm'));
  });
});
