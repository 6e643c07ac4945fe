/** Files that root names for the streams of a restored program, in directories where others may put files, too. */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { append, openInput, openOutput } from '../../src/cli/terminal/output-file.ts';
import { cannotShow } from './support.ts';

describe('a file that root names for a stream', () => {
  let directory = '';
  const at = (name: string): string => join(directory, name);

  before(function () {
    if (process.geteuid?.() !== 0) cannotShow(this, 'only root is so careful');
    directory = mkdtempSync(join(tmpdir(), 'output-file-'));
    chmodSync(directory, 0o1777);
  });
  after(() => {
    if (directory !== '') rmSync(directory, { recursive: true });
  });

  it('is made, is appended to, and may be a device', () => {
    for (const text of ['one ', 'two']) {
      const file = openOutput(at('roots'));
      append(file, Buffer.from(text));
      file.close();
    }
    assert.equal(readFileSync(at('roots'), 'utf8'), 'one two');
    openInput(at('roots')).close();
    openOutput('/dev/null').close();
    openInput('/dev/null').close();
  });

  it('is refused if it is a link, another user’s, writable by others, or a FIFO', () => {
    writeFileSync(at('target'), 'target');
    symlinkSync(at('target'), at('link'));
    writeFileSync(at('hers'), 'hers');
    chownSync(at('hers'), 1500, 1500);
    writeFileSync(at('open'), 'open');
    chmodSync(at('open'), 0o666);
    execFileSync('mkfifo', [at('fifo')]);
    for (const name of ['link', 'hers', 'open', 'fifo']) {
      assert.throws(() => openOutput(at(name)), /cannot be written/, name);
      assert.throws(() => openInput(at(name)), /cannot be read/, name);
    }
    assert.equal(readFileSync(at('target'), 'utf8'), 'target');
  });
});
