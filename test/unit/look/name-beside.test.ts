/** Other names of files that have lost one, and files of sockets. */
import assert from 'node:assert/strict';
import { linkSync, lstatSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NamesBeside, sharesPaths } from '../../../src/look/name-beside.ts';
import { socketFile } from '../../../src/look/socket-file.ts';

describe('a file beside the name that it has lost', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'beside-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is found by its inode under another name, and not under the lost one', () => {
    const [lost, other] = [join(directory, 'lost'), join(directory, 'other')];
    writeFileSync(other, '');
    const { ino } = lstatSync(other);
    assert.equal(new NamesBeside().of(lost, ino), 'other');
    assert.equal(new NamesBeside().of(other, ino), undefined);
    linkSync(other, lost);
    assert.equal(new NamesBeside().of(other, ino), 'lost');
    assert.equal(new NamesBeside().of(join(directory, 'gone', 'x'), ino), undefined);
  });

  it('is looked for in each directory once, so that a look takes a bounded time', () => {
    const names = new NamesBeside();
    assert.equal(names.of(join(directory, 'lost'), 1), undefined);
    writeFileSync(join(directory, 'late'), '');
    assert.equal(names.of(join(directory, 'lost'), lstatSync(join(directory, 'late')).ino), undefined);
  });

  it('of a socket is there, gone, or moved with another file in its place', async () => {
    const path = join(directory, 's');
    const server = await new Promise<Server>((resolve) => {
      const made: Server = createServer().listen(path, () => resolve(made));
    });
    try {
      const { ino } = lstatSync(path);
      const state = () => socketFile(path, ino, new NamesBeside(), () => undefined);
      assert.equal(state(), 'there');
      renameSync(path, join(directory, 't'));
      assert.equal(state(), 'gone');
      writeFileSync(path, '');
      assert.equal(state(), 'moved');
      rmSync(join(directory, 't'));
      assert.equal(state(), 'there');
    } finally {
      server.close();
    }
  });

  it('of a socket is told by the path that it has now, also in another directory', async () => {
    const path = join(directory, 's');
    const server = await new Promise<Server>((resolve) => {
      const made: Server = createServer().listen(path, () => resolve(made));
    });
    try {
      const { ino } = lstatSync(path);
      const state = (now: string) => socketFile(path, ino, new NamesBeside(), () => now);
      mkdirSync(join(directory, 'else'));
      renameSync(path, join(directory, 'else', 's'));
      writeFileSync(path, '');
      assert.equal(state(join(directory, 'else', 's')), 'moved');
      assert.equal(state(`${path} (deleted)`), 'there');
      // An overlay may tell another inode of a file that has its name.
      assert.equal(state(path), 'there');
    } finally {
      server.close();
    }
  });

  it('is judged for processes with the same root and mounts alone', () => {
    assert.ok(sharesPaths(process.pid));
    assert.ok(!sharesPaths(0x7fff_ffff));
  });
});
