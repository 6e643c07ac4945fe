import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { constants, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorLines, readErrorLines } from '../../../src/engine/engine-log.ts';
import { native, type OwnedFd } from '../../../src/native/binding.ts';

const line = (text: string): string => `Error (criu/cr-dump.c:42): ${text}`;

describe('readErrorLines', () => {
  let directory: string;
  let fd: OwnedFd;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criu-log-'));
    fd = native.open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  });
  afterEach(() => {
    fd.close();
    rmSync(directory, { recursive: true });
  });

  it('returns five error lines, those first that may say why', () => {
    const text = [
      '(00.000001) Version: 4.1.1',
      'Warn  (criu/cr-dump.c:42): no error',
      'Error (compel/src/lib/infect.c:1620): Task 42 is in unexpected state: b7f',
      '(00.000002) pie: 42: Error (criu/pie/restorer.c:2106): Unable to create a thread: -17',
      ...['1', '2', '3', '4', '5'].map(line),
      'An Error (no line of CRIU)',
    ].join('\n');
    assert.deepEqual(errorLines(text), [
      'pie: 42: Error (criu/pie/restorer.c:2106): Unable to create a thread: -17',
      ...['1', '2', '3', '4'].map(line),
    ]);
  });

  it('reads criu.log, unless the request has named another file', async () => {
    writeFileSync(join(directory, 'criu.log'), `${line('a')}\n`);
    writeFileSync(join(directory, 'dump.log'), `${line('b')}\n`);
    assert.deepEqual(await readErrorLines(fd, undefined, 0), [line('a')]);
    assert.deepEqual(await readErrorLines(fd, 'dump.log', 0), [line('b')]);
  });

  it('ignores the log of an earlier request', async () => {
    writeFileSync(join(directory, 'criu.log'), `${line('old')}\n`);
    utimesSync(join(directory, 'criu.log'), 1000, 1000);
    assert.deepEqual(await readErrorLines(fd, undefined, Date.now()), []);
  });

  it('follows no link, leaves no directory, and waits for no FIFO', async () => {
    writeFileSync(join(directory, 'secret'), `${line('secret')}\n`);
    symlinkSync(join(directory, 'secret'), join(directory, 'criu.log'));
    execFileSync('mkfifo', [join(directory, 'fifo')]);
    for (const name of [undefined, 'fifo', '../x', '-', '.', 'absent']) {
      assert.deepEqual(await readErrorLines(fd, name, 0), [], name);
    }
  });
});
