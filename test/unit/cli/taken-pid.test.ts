/** The holder of the pid that a restore needs, as criuctl names it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holderOf } from '../../../src/cli/pid-holder.ts';
import { aboutTaken, takenPid } from '../../../src/cli/taken-pid.ts';

const forkFails = (pid: number): string =>
  `Error (criu/cr-restore.c:1230): Can't fork for ${pid}: File exists`;
const threadFails = 'pie: 1: Error (criu/pie/restorer.c:2106): Unable to create a thread: -17';

describe('the holder of a pid that a restore needs', () => {
  const directory = mkdtempSync(join(tmpdir(), 'criuctl-taken-'));
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  });

  /** Starts a Python program that prints a pid, and waits. */
  async function python(...lines: string[]): Promise<{ parent: number; pid: number; child: ChildProcess }> {
    const program = ['import os, subprocess, sys, time', ...lines, 'time.sleep(1000)'].join('\n');
    const child = spawn('python3', ['-uc', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const [text] = await once(child.stdout!, 'data');
    return { parent: child.pid!, pid: Number(text), child };
  }

  it('is a process', async () => {
    const child = spawn('sleep', ['1000']);
    children.push(child);
    await once(child, 'spawn');
    const sentence = aboutTaken(holderOf(child.pid!));
    assert.match(sentence, new RegExp(`^Process ${child.pid} exists: it is sleep of \\w+\\. Restore when`));
  });

  it('is a zombie, and its parent is named', async () => {
    const { parent, pid } = await python(
      'child = subprocess.Popen(["true"])',
      'os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)',
      'print(child.pid)',
    );
    const sentence = aboutTaken(holderOf(pid));
    assert.match(
      sentence,
      new RegExp(`^Process ${pid} has ended, but its parent, process ${parent} \\(python3 of`),
    );
  });

  it('is a session or a process group that a process is still in', async () => {
    for (const [start, kind] of [
      ['os.setsid()', 'session'],
      ['os.setpgid(0, 0)', 'process group'],
    ]) {
      // The leader ends and is waited for; its child stays.
      const { pid } = await python(
        'leader = os.fork()',
        'if leader == 0:',
        `  ${start}`,
        '  if os.fork() == 0: time.sleep(1000)',
        '  os._exit(0)',
        'os.waitpid(leader, 0)',
        'print(leader)',
      );
      const taken = holderOf(pid);
      assert.ok(taken.kind === 'group');
      children.push({ kill: () => process.kill(taken.member.pid, 'SIGKILL') } as unknown as ChildProcess);
      const sentence = aboutTaken(taken);
      assert.match(
        sentence,
        new RegExp(
          `^No process has the pid ${pid}, but it is still the ${kind} of process \\d+ \\(python3 of`,
        ),
      );
    }
  });

  it('is a thread, and its process is named', () => {
    const thread = readdirSync('/proc/self/task')
      .map(Number)
      .find((tid) => tid !== process.pid)!;
    const sentence = aboutTaken(holderOf(thread));
    assert.match(sentence, new RegExp(`^${thread} is a thread of process ${process.pid} \\(`));
  });

  it('is criu-service itself, with a remedy', () => {
    assert.match(
      aboutTaken({ kind: 'service', pid: 7, isThread: true }),
      /^7 is a thread of criu-service itself\. As root: systemctl restart criu\.service/,
    );
    assert.match(aboutTaken({ kind: 'service', pid: 7, isThread: false }), /^7 is an engine of criu-service/);
  });

  it('is unknown if it has ended meanwhile', () => {
    assert.equal(
      aboutTaken(takenPid([forkFails(2 ** 22 + 1)], directory)!),
      'No process that you can see has the pid 4194305 now: restore again',
    );
  });

  it('of a thread of the tree is found by the names of the images', () => {
    assert.equal(takenPid([threadFails], directory), undefined);
    for (const id of [2 ** 22 + 1, process.pid]) writeFileSync(join(directory, `core-${id}.img`), '');
    const taken = takenPid([threadFails], directory);
    assert.ok(taken?.kind === 'process' && taken.process.pid === process.pid);
  });

  it('is not looked for after the failure of a restore for another reason', () => {
    const other = "Error (criu/cr-restore.c:1230): Can't fork for 7: Resource temporarily unavailable";
    assert.equal(takenPid([other, 'Unable to create a thread: -11'], directory), undefined);
  });
});
