import { strict as assert } from 'node:assert';
import { execFileSync, type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../src/native/binding.ts';
import { requireArgumentError } from './support.ts';

const leaving = join(import.meta.dirname, 'fixtures', 'leaving.ts');

const tsx = join(import.meta.dirname, '..', '..', 'node_modules', 'tsx', 'dist', 'loader.mjs');
const O_NONBLOCK = 0o4000;

describe('leave', () => {
  let directory: string;
  let fifo: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'leave-'));
    fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
  });

  after(() => rmSync(directory, { recursive: true }));

  const argumentsOf = (way: string, bytes: number): string[] => [
    '--import',
    tsx,
    leaving,
    fifo,
    way,
    `${bytes}`,
  ];

  const ended = (way: string, bytes: number): SpawnSyncReturns<string> =>
    spawnSync(process.execPath, argumentsOf(way, bytes), {
      encoding: 'utf8',
      timeout: 60_000,
      killSignal: 'SIGKILL',
    });

  it('ends a process although one of its threads waits for ever, with its status and after its handlers', () => {
    for (const way of ['leave', 'at-once']) {
      const { status, signal, stdout, stderr } = ended(way, 10);
      assert.deepEqual([status, signal, stdout, stderr], [7, null, 'x'.repeat(10), 'exit 7'], way);
    }
  });

  it('ends a process when its reader has all of its output', () => {
    const { status, stdout } = ended('leave', 300_000);
    assert.deepEqual([status, stdout.length], [7, 300_000]);
  });

  it('makes a pipe blocking again that others share, and that Node has made non-blocking', () => {
    const addon = join(import.meta.dirname, '..', '..', 'native', 'build', 'Release', 'criu_service.node');
    const flagsAfter = (end: string): number => {
      const program = `const native = require('${addon}'); process.stdout.write('\\n'); ${end}`;
      const script = '{ "$0" -e "$1"; grep ^flags: /proc/self/fdinfo/1; } | cat';
      const { stdout } = spawnSync('sh', ['-c', script, process.execPath, program], { encoding: 'utf8' });
      return parseInt(/flags:\s*(\d+)/.exec(stdout)?.[1] ?? '', 8);
    };
    assert.equal(flagsAfter('native.exit(0)') & O_NONBLOCK, 0);
    assert.equal(flagsAfter('process.kill(process.pid, 9)') & O_NONBLOCK, O_NONBLOCK);
  });

  it('refuses a status that the kernel would cut', () => {
    for (const wrong of [-1, 256, 0.5, '7', undefined])
      requireArgumentError(() => native.exit(wrong as number), 'status');
  });
});
