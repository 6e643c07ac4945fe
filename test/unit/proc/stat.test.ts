import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseStat, startTimeOf, statOf } from '../../../src/proc/stat.ts';

const fields = (start: string): string => `T 3 5 6 34816 -1 4194304 ${'0 '.repeat(12)}${start} 0`;

describe('/proc/PID/stat', () => {
  it('is read from the fields behind a name of any kind', () => {
    const expected = { state: 'T', parent: 3, group: 5, session: 6, terminal: 34816, start: '99' };
    for (const name of ['a', 'a) R 1 (b', `a) S ${'1 '.repeat(30)}`, '', '((', '))'])
      assert.deepEqual(parseStat(`7 (${name}) ${fields('99')}`), expected, name);
  });

  it('has an exact start after any time since the boot', () => {
    assert.equal(parseStat(`7 (a) ${fields('18446744073709551615')}`)?.start, '18446744073709551615');
  });

  it('tells nothing where it is no such file', () => {
    for (const text of ['', '7 (a) S 1', 'x'.repeat(999), `7 (a) ${fields('-1')}`, `7 (a) ${fields('x')}`])
      assert.equal(parseStat(text), undefined, text);
    assert.equal(statOf(2 ** 22 + 1), undefined);
  });

  it('tells the parent, and the start, which is gone with the process, even before it is reaped', async () => {
    // The shell reaps its child only when its input ends.
    const shell = spawn('sh', ['-c', 'sleep 1000 & echo $!; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [line] = (await once(shell.stdout, 'data')) as [Buffer];
    const child = Number(line);
    assert.equal(statOf(child)?.parent, shell.pid);
    assert.match(startTimeOf(child)!, /^[1-9]\d*$/);
    process.kill(child, 'SIGKILL');
    while (startTimeOf(child) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    shell.stdin.end();
    await once(shell, 'exit');
    assert.equal(startTimeOf(child), undefined);
  });
});
