import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CriuTooOldError, requireUnprivilegedMode, versionOf } from '../../../src/engine/criu-version.ts';

describe('the version of criu', () => {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-version-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  const says = (output: string): string => {
    const file = join(directory, 'criu');
    rmSync(file, { force: true });
    writeFileSync(file, `#!/bin/sh\n[ "$1" = --version ] && echo '${output}'\n`);
    chmodSync(file, 0o755);
    return file;
  };

  it('is read from the output of the program', async () => {
    assert.deepEqual(await versionOf(says('Version: 4.1.1')), { major: 4, minor: 1, sublevel: 1 });
    assert.equal(await versionOf(says('criu: error')), undefined);
  });

  it('is refused before 3.18, with a sentence that names the required version', async () => {
    await assert.rejects(requireUnprivilegedMode(says('Version: 3.17.1')), (error: CriuTooOldError) => {
      assert.ok(error instanceof CriuTooOldError);
      assert.match(error.message, /criu 3\.17\.1 serves only root.*3\.18/);
      return true;
    });
  });

  it('is read again when another program is installed', async () => {
    await assert.rejects(requireUnprivilegedMode(says('Version: 2.12')));
    await requireUnprivilegedMode(says('Version: 3.18'));
    await requireUnprivilegedMode(says('Version: 4.1.1'));
  });

  it('may be unknown: then criu is accepted', async () => {
    await requireUnprivilegedMode(says('a CRIU of somebody’s own'));
  });
});
