import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { openRegular } from '../../../src/images/open-regular.ts';
import { openBelow, withFiles } from './support/encode.ts';

describe('a file that is opened only if it is regular', () => {
  it('is read, and through a link only if links are followed', () => {
    withFiles({ file: Buffer.from('text') }, (path) => {
      symlinkSync('file', join(path, 'link'));
      for (const [name, links] of [
        ['file', 'as they are'],
        ['link', 'followed'],
      ] as const) {
        const opened = openRegular(join(path, name), links);
        assert.ok('fd' in opened);
        assert.equal(readFileSync(opened.fd, 'utf8'), 'text');
        closeSync(opened.fd);
      }
      assert.ok(openRegular(join(path, 'link'), 'as they are').stat.isSymbolicLink());
      assert.throws(() => openRegular(join(path, 'none'), 'followed'), { code: 'ENOENT' });
      assert.deepEqual(openBelow('images-'), []);
    });
  });

  it('is not opened if it is a FIFO or a directory: a writer of the FIFO still waits for its reader', () => {
    withFiles({}, (path) => {
      execFileSync('mkfifo', [join(path, 'fifo')]);
      mkdirSync(join(path, 'directory'));
      assert.ok(openRegular(join(path, 'fifo'), 'followed').stat.isFIFO());
      assert.ok(openRegular(join(path, 'directory'), 'as they are').stat.isDirectory());
      assert.ok(openRegular('/dev/null', 'followed').stat.isCharacterDevice());
      assert.deepEqual(openBelow('images-'), []);
    });
  });
});
