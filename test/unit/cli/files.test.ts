/** What criuctl reads in directories that may be somebody else's. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorLines } from '../../../src/cli/criu-log.ts';
import { imageBytes, pidsOfImages } from '../../../src/cli/images.ts';
import { whoElseWrites } from '../../../src/cli/trust.ts';
import { readDumpStatistics } from '../../../src/client/statistics.ts';

describe('what criuctl reads in a directory', () => {
  let directory = '';
  const at = (name: string): string => join(directory, name);
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'criuctl-test-'));
    chmodSync(directory, 0o700);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is the error lines of a log, without time stamps and control characters', () => {
    writeFileSync(
      at('log'),
      '(00.1) fine\n(00.20) Error (a.c:1): no\x1b[31m\n(00.3) pie: 1: Error (b.c:2): no\nWarn (c.c:3): x\n',
    );
    assert.deepEqual(errorLines(at('log')), ['Error (a.c:1): no [31m', 'pie: 1: Error (b.c:2): no']);
    assert.deepEqual(errorLines(at('none')), []);
  });

  it('is not more of a log than a person reads: the cause, and the end', () => {
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

  it('is neither a link nor a FIFO', () => {
    writeFileSync(at('secret'), 'Error (secret)\n');
    symlinkSync(at('secret'), at('link'));
    execFileSync('mkfifo', [at('fifo'), at('stats-dump')]);
    assert.deepEqual(errorLines(at('link')), []);
    assert.deepEqual(errorLines(at('fifo')), []);
    assert.equal(readDumpStatistics(directory), undefined);
  });

  it('is no statistics where there is something else', () => {
    writeFileSync(at('stats-dump'), 'not statistics at all');
    assert.equal(readDumpStatistics(directory), undefined);
  });

  it('counts images and names their processes', () => {
    writeFileSync(at('pages-1.img'), Buffer.alloc(8192));
    writeFileSync(at('core-47.img'), Buffer.alloc(10));
    writeFileSync(at('core-x.img'), Buffer.alloc(10));
    assert.deepEqual(imageBytes(directory), { pages: 8192, all: 8212 });
    assert.deepEqual(pidsOfImages(directory), [47]);
  });

  it('tells root who else writes images: the directory, one of them, or those before', () => {
    assert.equal(process.geteuid?.(), 0, 'these tests run as root');
    mkdirSync(at('1'), 0o700);
    mkdirSync(at('2'), 0o700);
    writeFileSync(at('1/core-1.img'), '', { mode: 0o600 });
    writeFileSync(at('2/core-1.img'), '', { mode: 0o600 });
    symlinkSync('../1', at('2/parent'));
    assert.equal(whoElseWrites(at('2')), undefined);
    chmodSync(at('1/core-1.img'), 0o620);
    assert.match(whoElseWrites(at('2')) ?? '', /\/1\/core-1\.img can be written by others \(mode 620\)/);
    chmodSync(at('1/core-1.img'), 0o600);
    chmodSync(at('2'), 0o777);
    assert.match(whoElseWrites(at('2')) ?? '', /\/2 can be written by others \(mode 777\)/);
    chmodSync(at('2'), 0o700);
    execFileSync('chown', ['1500', at('2/core-1.img')]);
    assert.match(whoElseWrites(at('2')) ?? '', /core-1\.img belongs to uid 1500/);
  });

  it('tells root who could put other images in the place of these', () => {
    assert.equal(process.geteuid?.(), 0, 'these tests run as root');
    mkdirSync(at('hers/images'), { recursive: true, mode: 0o700 });
    mkdirSync(at('roots'), { mode: 0o700 });
    symlinkSync('../roots', at('hers/link'));
    symlinkSync('hers/images', at('link'));
    symlinkSync(at('hers/link'), at('link-to-link'));
    const ways = ['hers/images', 'hers/link', 'link', 'link-to-link', 'hers/images/../../link'];
    for (const way of ways) assert.equal(whoElseWrites(`${directory}/${way}`), undefined, way);
    execFileSync('chown', ['1500', at('hers')]);
    for (const way of ways)
      assert.match(whoElseWrites(`${directory}/${way}`) ?? '', /\/hers belongs to uid 1500/, way);
    assert.equal(whoElseWrites(at('roots')), undefined);
    execFileSync('chown', ['0', at('hers')]);
    chmodSync(at('hers'), 0o777);
    assert.match(whoElseWrites(at('hers/images')) ?? '', /\/hers can be written by others \(mode 777\)/);
    // As /tmp is: nobody can rename or remove there what is root's.
    chmodSync(at('hers'), 0o1777);
    assert.equal(whoElseWrites(at('hers/images')), undefined);
  });

  it('tells root of a path that leads elsewhere than its links say', async () => {
    assert.equal(process.geteuid?.(), 0, 'these tests run as root');
    mkdirSync(at('shown'), { mode: 0o700 });
    // In a mount namespace of its own the same path, and even the same directory at its end, is below one that is uid 1500's.
    mkdirSync(at('shown/images'), { mode: 0o700 });
    const script = `
      mkdir -m 700 ${at('real')} && mount --bind ${at('shown/images')} ${at('real')}
      mount -t tmpfs -o uid=1500,mode=700 tmpfs ${at('shown')} && mkdir -m 700 ${at('shown/images')}
      mount --bind ${at('real')} ${at('shown/images')} && echo ready && exec sleep 60`;
    const other = spawn('unshare', ['--mount', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(other.stdout, 'data');
      const inside = `/proc/${other.pid}/root${at('shown/images')}`;
      assert.equal(statSync(inside).ino, statSync(at('shown/images')).ino);
      assert.match(whoElseWrites(inside) ?? '', /leads through \/proc\/[0-9]+\/root, which need not lead/);
      symlinkSync(inside, at('link'));
      assert.match(whoElseWrites(at('link')) ?? '', /leads through/);
    } finally {
      other.kill('SIGKILL');
      await once(other, 'exit');
    }
  });

  it('tells root of a file system that a program serves, even where root seems to own it all', () => {
    const root = mkdtempSync(join(tmpdir(), 'criu-service-fuse-'));
    mkdirSync(join(root, 'images'));
    const on = (path: string) => (queried: string) => (queried === path ? 0x65735546 : 0);
    for (const path of [root, join(root, 'images')]) {
      const reason = whoElseWrites(join(root, 'images'), on(path));
      assert.ok(reason?.startsWith(`${path} is on a FUSE file system`), reason);
    }
    assert.equal(whoElseWrites(join(root, 'images'), on('/elsewhere')), undefined);
    rmSync(root, { recursive: true });
  });

  it('ends where images name themselves as those before', () => {
    chmodSync(directory, 0o700);
    symlinkSync('.', at('parent'));
    const found = whoElseWrites(directory);
    assert.equal(found === undefined, process.geteuid?.() === 0);
  });
});
