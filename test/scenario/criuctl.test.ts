/** The bundled criuctl at the service, with a scripted engine. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import * as images from '../unit/images/support/encode.ts';
import { sends } from './support/client.ts';
import { eventually, ServiceUnderTest } from './support/service.ts';

const criuctl = join(import.meta.dirname, '..', '..', 'build', 'dist', 'criuctl.cjs');

/** A megabyte of JavaScript takes Node longer to read than to run. */
const largestBundle = 600 << 10;

const step = (script: string): CriuResp => ({ type: ReqType.NOTIFY, success: true, notify: { script } });

describe('criuctl at a service', () => {
  const service = new ServiceUnderTest();
  before(() => service.start());
  after(() => service.stop());

  it('makes CRIU roll back if it is interrupted, and has an exit status for that', async () => {
    service.engine(
      'receive',
      sends(step('pre-dump')),
      'receive',
      'until told',
      sends(step('post-dump')),
      'receive',
    );
    const target = spawn('sleep', ['1000'], { stdio: 'ignore' });
    const words = ['dump', `${target.pid}`, '--force', '-D', service.directory, '--service', service.address];
    const child = spawn(process.execPath, [criuctl, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (text) => {
      said += text;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await eventually('the engine has its first acknowledgement', () => service.received().length === 2);
    child.kill('SIGINT');
    assert.equal(await ended, 130);
    service.tell();
    target.kill();
    assert.match(said, /aborted/);
    await eventually('the engine reads the end', () => service.received().at(-1) === 'eof');
  });

  it('keeps standard output for the result: CRIU’s message about a failure goes elsewhere', () => {
    const failure = { type: ReqType.CHECK, success: false, cr_errno: 1, cr_errmsg: 'CHECK refused: no' };
    service.engine('receive', sends(failure));
    const words = ['check', '--service', service.address];
    const { status, stdout, stderr } = spawnSync(process.execPath, [criuctl, ...words], { encoding: 'utf8' });
    assert.deepEqual([status, stdout], [3, '']);
    assert.match(stderr, /^criuctl: CHECK refused: no$/m);
  });

  it('sends no restore if it could not write the pid file, because the file exists or its directory is missing', () => {
    service.engine('receive', sends({ type: ReqType.RESTORE, success: true, restore: { pid: 4711 } }));
    const existing = join(service.directory, 'pid');
    writeFileSync(existing, 'of somebody');
    for (const [path, status, words] of [
      [existing, 2, /pid exists already\nRemove it, or name another file/],
      [join(service.directory, 'none', 'pid'), 5, /none\/pid cannot be written: ENOENT/],
    ] as const) {
      const restore = ['restore', '-D', service.directory, '--pidfile', path, '--service', service.address];
      const ended = spawnSync(process.execPath, [criuctl, ...restore, '--trust-images'], {
        encoding: 'utf8',
      });
      assert.deepEqual([ended.status, ended.stdout], [status, '']);
      assert.match(ended.stderr, words);
    }
    assert.deepEqual(service.received(), []);
  });

  describe('decoding an image of many records', () => {
    const image = join(tmpdir(), `criuctl-decode-${process.pid}.img`);
    before(() => {
      const { head, record, encode } = images;
      const task = record(encode('pstree_entry', { pid: 7, ppid: 1, pgid: 7, sid: 7 }));
      writeFileSync(image, Buffer.concat([head('PSTREE'), ...Array.from({ length: 200_000 }, () => task)]));
    });
    after(() => rmSync(image));

    it('ends with its reader, without a word', () => {
      const script = `"$0" "$1" images decode "$2" | head -c 20; echo " \${PIPESTATUS[0]}"`;
      const { stdout, stderr } = spawnSync('bash', ['-c', script, process.execPath, criuctl, image], {
        encoding: 'utf8',
      });
      assert.deepEqual([stdout, stderr], ['{"magic":"PSTREE","e 0\n', '']);
    });

    it('waits for its reader, and is ended by SIGINT at any moment', async () => {
      const child = spawn(process.execPath, [criuctl, 'images', 'decode', image], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = new Promise((resolve) => child.once('exit', (...how) => resolve(how)));
      // The rest of the text is more than a pipe holds.
      await new Promise((resolve) => child.stdout.once('readable', resolve));
      child.kill('SIGINT');
      assert.deepEqual(await ended, [null, 'SIGINT']);
      child.stdout.destroy();
    });
  });

  it('reports a fault of its own in one line with advice, wherever it happens, and never shows a stack trace', () => {
    for (const fault of [
      `process.geteuid = () => { throw new TypeError('a fault'); };`,
      `setImmediate(() => { throw new TypeError('a fault'); });`,
      `setImmediate(() => Promise.reject(new TypeError('a fault')));`,
    ]) {
      const words = [
        'dump',
        '2147483',
        '-D',
        service.directory,
        '--service',
        join(service.directory, 'none'),
      ];
      const program = `
        ${fault}
        process.argv = [process.execPath, ...${JSON.stringify([criuctl, ...words])}];
        require(process.argv[1]);`;
      const { status, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
      assert.equal(status, 1);
      assert.match(stderr, /^criuctl: TypeError: a fault\nThis is a fault of criuctl: please report it/m);
      assert.doesNotMatch(stderr, /^ +at /m);
    }
  });

  it('is small, and loads neither the addon nor the protocol for completion and help', () => {
    assert.ok(statSync(criuctl).size < largestBundle);
    const withoutAddon = (...words: string[]) => {
      const program = `
        process.dlopen = () => { throw new Error('the addon was loaded'); };
        process.argv = [process.execPath, ...${JSON.stringify([criuctl, ...words])}];
        require(process.argv[1]);`;
      return spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
    };
    for (const words of [
      ['completion', 'bash'],
      ['dump', '--help'],
    ]) {
      const { status, stderr } = withoutAddon(...words);
      assert.equal(status, 0, stderr);
    }
    assert.match(withoutAddon('version').stderr, /the addon was loaded/);
  });
});
