/** Files that criuctl reads in directories that may be another user's. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorLines } from '../../../src/cli/criu-log.ts';
import { imageBytes, pidsOfImages } from '../../../src/cli/images.ts';
import { readDumpStatistics } from '../../../src/client/statistics.ts';

describe('files that criuctl reads in a directory', () => {
  let directory = '';
  const at = (name: string): string => join(directory, name);
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criuctl-test-'));
    chmodSync(directory, 0o700);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('give the error lines of a log, without time stamps and control characters', () => {
    writeFileSync(
      at('log'),
      '(00.1) fine\n(00.20) Error (a.c:1): no\x1b[31m\n(00.3) pie: 1: Error (b.c:2): no\nWarn (c.c:3): x\n',
    );
    assert.deepEqual(errorLines(at('log')), ['Error (a.c:1): no [31m', 'pie: 1: Error (b.c:2): no']);
    assert.deepEqual(errorLines(at('none')), []);
  });

  it('give a short part of a log: the cause, and the end', () => {
    writeFileSync(
      at('log'),
      Array.from({ length: 100 }, (_, index) => `Error (a.c:${index}): no\n`).join(''),
    );
    const lines = errorLines(at('log'));
    assert.equal(lines.length, 9);
    assert.deepEqual(
      [lines[0], lines[6], lines[8]],
      ['Error (a.c:0): no', '(92 more)', 'Error (a.c:99): no'],
    );
  });

  it('must be neither a link nor a FIFO', () => {
    writeFileSync(at('secret'), 'Error (secret)\n');
    symlinkSync(at('secret'), at('link'));
    execFileSync('mkfifo', [at('fifo'), at('stats-dump')]);
    assert.deepEqual(errorLines(at('link')), []);
    assert.deepEqual(errorLines(at('fifo')), []);
    assert.equal(readDumpStatistics(directory), undefined);
  });

  it('give no statistics if they hold something else', () => {
    writeFileSync(at('stats-dump'), 'not statistics at all');
    assert.equal(readDumpStatistics(directory), undefined);
  });

  it('give the size of the images and the pids of their processes', () => {
    writeFileSync(at('pages-1.img'), Buffer.alloc(8192));
    writeFileSync(at('core-47.img'), Buffer.alloc(10));
    writeFileSync(at('core-x.img'), Buffer.alloc(10));
    assert.deepEqual(imageBytes(directory), { pages: 8192, all: 8212 });
    assert.deepEqual(pidsOfImages(directory), [47]);
  });
});
