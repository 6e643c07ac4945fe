import assert from 'node:assert/strict';
import { chmodSync, chownSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../../src/native/binding.ts';
import { writtenByOthers } from '../../../src/session/engines/shared-directory.ts';

describe('a directory of a request of root’s', () => {
  it('counts as shared if its owner or mode lets others write, or if that cannot be read', () => {
    assert.equal(process.geteuid?.(), 0, 'these tests run as root');
    const directory = mkdtempSync(join(tmpdir(), 'shared-directory-'));
    const open = native.open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      chmodSync(directory, 0o755);
      assert.equal(writtenByOthers(open), undefined);
      for (const mode of [0o775, 0o757, 0o1777]) {
        chmodSync(directory, mode);
        const said = `can be written by others (mode ${(mode & 0o777).toString(8)})`;
        assert.equal(writtenByOthers(open), said);
      }
      chmodSync(directory, 0o700);
      chownSync(directory, 1500, 0);
      assert.equal(writtenByOthers(open), 'belongs to uid 1500');
    } finally {
      open.close();
      rmSync(directory, { recursive: true });
    }
    assert.equal(writtenByOthers(open), 'cannot be looked at');
  });
});
