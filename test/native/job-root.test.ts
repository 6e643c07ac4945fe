/** criu-job-root: the root of a job's tree. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../src/native/binding.ts';

const program = join(import.meta.dirname, '..', '..', 'native', 'build', 'Release', 'criu-job-root');

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let step = 0; step < 30_000; step += 1) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(what);
}

describe('the root of a job’s tree', () => {
  let directory: string;
  let end: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'job-root-'));
    end = join(directory, 'end');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function start(script: string): {
    child: ChildProcess;
    ended: Promise<readonly [number | null, string | null]>;
  } {
    const child = spawn(program, [end, '/bin/sh', 'sh', '-c', script], { stdio: 'ignore', detached: true });
    const ended = new Promise<readonly [number | null, string | null]>((resolve) => {
      child.once('exit', (code, signal) => resolve([code, signal]));
    });
    return { child, ended };
  }

  it('leaves the status of its command, and exits with it', async () => {
    assert.deepEqual(await start('exit 0').ended, [0, null]);
    assert.equal(readFileSync(end, 'utf8'), 'exited 0\n');
    assert.deepEqual(await start('exit 255').ended, [255, null]);
    assert.equal(readFileSync(end, 'utf8'), 'exited 255\n');
  });

  it('leaves the signal that has ended its command', async () => {
    assert.deepEqual(await start('kill -KILL $$').ended, [137, null]);
    assert.equal(readFileSync(end, 'utf8'), 'killed 9\n');
  });

  it('passes signals on to its command', async () => {
    const ready = join(directory, 'ready');
    const { child, ended } = start(`trap 'exit 5' TERM; : >${ready}; while :; do sleep 0.05; done`);
    await until('the command is ready', () => existsSync(ready));
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [5, null]);
  });

  it('keeps the orphans of its command in its tree, and does not end before the command', async () => {
    const orphan = join(directory, 'orphan');
    const go = join(directory, 'go');
    const { child, ended } = start(
      `(sh -c 'echo $$ >${orphan}.new; mv ${orphan}.new ${orphan}; while [ ! -e ${go} ]; do sleep 0.05; done' &); while [ ! -e ${go} ]; do sleep 0.05; done; exit 4`,
    );
    await until('there is an orphan', () => existsSync(orphan));
    const parent = (): string =>
      /^PPid:\t(\d+)$/m.exec(
        readFileSync(`/proc/${Number(readFileSync(orphan, 'utf8'))}/status`, 'utf8'),
      )![1]!;
    await until('the root is its parent', () => parent() === `${child.pid}`);
    writeFileSync(go, '');
    assert.deepEqual(await ended, [4, null]);
  });

  it('takes its command along when it is killed', async () => {
    const file = join(directory, 'pid');
    const { child, ended } = start(
      `echo $$ >${file}.new; mv ${file}.new ${file}; while :; do sleep 0.05; done`,
    );
    await until('the command runs', () => existsSync(file));
    const pid = Number(readFileSync(file, 'utf8'));
    child.kill('SIGKILL');
    await ended;
    await until('the command is gone', () => {
      try {
        return /^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      } catch {
        return true;
      }
    });
    assert.equal(existsSync(end), false);
  });

  it('leaves 127 for a command that is no program', async () => {
    const child = spawn(program, [end, join(directory, 'none'), 'none'], { stdio: 'ignore' });
    await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(readFileSync(end, 'utf8'), 'exited 127\n');
  });

  it('has no capability without root, and a few kilobytes of memory', async () => {
    const ready = join(directory, 'ready');
    const { child, ended } = start(`: >${ready}; while :; do sleep 0.05; done`);
    await until('the command is ready', () => existsSync(ready));
    const memory = readFileSync(`/proc/${child.pid}/smaps_rollup`, 'utf8');
    const kib = [...memory.matchAll(/^(?:Private_\w+|Pss):\s+(\d+) kB$/gm)].map(([, number]) =>
      Number(number),
    );
    assert.ok(Math.max(...kib) <= 32, memory);
    child.kill('SIGTERM');
    await ended;
  });

  it('gives its command the terminal on its standard input, whose keys signal the command once and stop nothing', async () => {
    const terminal = new Terminal();
    const script =
      "trap 'echo interrupted' INT; trap 'echo marked' USR1; read -r line </dev/tty; echo \"got $line\"; while :; do sleep 0.05; done";
    const child = terminal.start(script);
    terminal.type('a line\n');
    await terminal.shows('got a line', 1);
    terminal.type('\x1a');
    for (const number of [1, 2, 3]) {
      if (number < 3) terminal.type('\x03');
      else child.kill('SIGINT');
      await terminal.shows('interrupted', number);
      // A second signal would have been told before this.
      child.kill('SIGUSR1');
      await terminal.shows('marked', number);
      assert.equal(terminal.count('interrupted'), number);
    }
    child.kill('SIGTERM');
    await once(child, 'exit');
    assert.equal(readFileSync(end, 'utf8'), 'killed 15\n');
    terminal.close();
  });

  for (const [how, script] of [
    ['the signal', 'while :; do sleep 0.05; done'],
    ['the end of its input', "trap '' HUP; cat; exit 0"],
  ] as const) {
    it(`leaves no end of a command that ${how} has ended with its terminal: its job was interrupted`, async () => {
      const terminal = new Terminal();
      const child = terminal.start(`echo ready; ${script}`);
      await terminal.shows('ready', 1);
      const ended = once(child, 'exit');
      terminal.close();
      assert.deepEqual(await ended, [129, null]);
      assert.equal(existsSync(end), false);
    });
  }

  /** The terminal of a command, and a person at it. */
  class Terminal {
    readonly #master = native.adoptTerminal(native.open('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY));
    #screen = '';

    start(script: string): ChildProcess {
      const peer = this.#master.openPeer();
      const child = spawn(program, [end, '/bin/sh', 'sh', '-c', script], {
        stdio: [peer.number, peer.number, peer.number],
        detached: true,
      });
      peer.close();
      return child;
    }

    type(keys: string): void {
      this.#master.write(Buffer.from(keys));
    }

    count(text: string): number {
      return this.#screen.split(text).length - 1;
    }

    shows(text: string, times: number): Promise<void> {
      return until(`${text} is on the screen`, () => {
        this.#screen += this.#master.read() ?? '';
        return this.count(text) >= times;
      });
    }

    close(): void {
      this.#master.close();
    }
  }
});
