import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { native, type TerminalMaster, Watch } from '../../src/native/binding.ts';
import { requireArgumentError } from './support.ts';

/** A shell command at a new terminal, whose master is held here. */
function atTerminal(command: string): {
  readonly master: TerminalMaster;
  readonly child: ReturnType<typeof spawn>;
} {
  const fd = native.open('/dev/ptmx', constants.O_RDWR);
  const number = Number(
    /^tty-index:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd.number}`, 'utf8'))?.[1],
  );
  const master = native.adoptTerminal(fd);
  assert.equal(fd.number, -1);
  const slave = openSync(`/dev/pts/${number}`, constants.O_RDWR | constants.O_NOCTTY);
  const child = spawn('setsid', ['--ctty', '--wait', 'sh', '-c', command], { stdio: [slave, slave, slave] });
  closeSync(slave);
  return { master, child };
}

async function shown(master: TerminalMaster, pattern: RegExp): Promise<string> {
  let screen = '';
  await new Promise<void>((resolve) => {
    master.watch(Watch.readable, () => {
      const bytes = master.read();
      screen += bytes?.toString() ?? '';
      if (bytes === null || pattern.test(screen)) {
        master.watch(0);
        resolve();
      }
    });
  });
  return screen;
}

describe('the master of a terminal', () => {
  it('passes bytes both ways and the size, and tells the end', async () => {
    const { master, child } = atTerminal('read line; stty size; echo "got $line"; read line');
    master.resize(11, 22);
    assert.equal(master.write(Buffer.from('hello\n')), 6);
    assert.match(await shown(master, /got hello\r\n/), /11 22\r\n/);
    assert.equal(master.read(), undefined);
    master.write(Buffer.from('\n'));
    await once(child, 'exit');
    await shown(master, /never/);
    assert.equal(master.read(), null);
    master.close();
    master.close();
    assert.throws(() => master.read(), { code: 'EBADF' });
  });

  it('sends a key to the foreground group as the signal that it stands for', async () => {
    const { master, child } = atTerminal('echo ready; exec sleep 1000');
    await shown(master, /ready/);
    master.write(Buffer.from('\x03'));
    const [, signal] = await once(child, 'exit');
    assert.equal(signal, 'SIGINT');
    master.close();
  });

  it('never waits for a program that reads nothing', () => {
    const { master, child } = atTerminal('stty raw; sleep 1000');
    const keys = Buffer.alloc(4096, 'x');
    let taken = 0;
    for (let count = -1; count !== 0; taken += count) count = master.write(keys);
    assert.ok(taken < 1 << 20);
    master.close();
    child.kill('SIGKILL');
  });

  it('is nothing else', () => {
    const fd = native.open('/dev/null', constants.O_RDWR);
    assert.throws(() => native.adoptTerminal(fd), { code: 'ENOTTY' });
    requireArgumentError(() => native.adoptTerminal(undefined as never), 'fd');
    fd.close();
  });
});

describe('the end of a process of another parent', () => {
  it('is told after it was reaped, by kernels since 6.15', async () => {
    const child = spawn('sh', ['-c', 'read line; exit 7'], { stdio: ['pipe', 'ignore', 'ignore'] });
    const pidfd = native.pidfdOpen(child.pid!);
    const before = native.endOf(pidfd);
    assert.ok(before === undefined || before === null);
    child.stdin!.end('\n');
    await once(child, 'exit');
    const end = native.endOf(pidfd);
    if (before !== null && end !== undefined) assert.deepEqual(end, { kind: 'exited', code: 7 });
    pidfd.close();
  });
});
