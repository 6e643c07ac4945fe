import assert from 'node:assert/strict';
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { addManifest } from '../../../src/client/manifest.ts';
import { restoreOptionsOf } from '../../../src/client/restore-options.ts';
import { readManifest } from '../../../src/images/manifest/read-manifest.ts';
import { smallDump } from '../images/support/dump.ts';
import { withFilesDuring } from '../images/support/encode.ts';

describe('the manifest that the client library writes', () => {
  it('has the version of CRIU, and the options that the restore needs, in a directory that is named by its path or descriptor', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        for (const imagesDir of [path, fd]) {
          const options = { imagesDir, manifest: true, leaveRunning: true, shellJob: true, external: ['a'] };
          assert.deepEqual(await addManifest(options, { major: 4, minor: 1, sublevel: 1 }), {});
          const { criu, leftRunning, restoreWith } = readManifest(path)!;
          assert.deepEqual([criu, leftRunning, restoreWith], ['4.1.1', true, ['--external', '--shell-job']]);
        }
      } finally {
        closeSync(fd);
      }
    });
  });

  it('has digests of pages if they are asked for', async () => {
    await withFilesDuring(smallDump(), async (path) => {
      for (const digestPages of [false, true]) {
        await addManifest({ imagesDir: path, manifest: { digestPages } }, undefined);
        const file = readManifest(path)!.files.find(({ name }) => name === 'pages-1.img')!;
        assert.equal(file.sha256 !== undefined, digestPages);
      }
    });
  });

  it('is absent, with the reason, where it cannot be written: the dump has succeeded all the same', async () => {
    const { manifestFailure } = await addManifest(
      { imagesDir: join('none', 'such'), manifest: true },
      undefined,
    );
    assert.match(manifestFailure!.message, /ENOENT/);
  });

  it('names no option that the dump did not have', () => {
    assert.deepEqual(
      restoreOptionsOf({ imagesDir: '.', external: [], tcpClose: false, leaveRunning: true }),
      [],
    );
  });
});
