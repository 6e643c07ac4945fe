import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { lineage, lineagesOf, parseCgroup, parseProcess, readTree } from '../../../src/proc/process-tree.ts';
import { readInTurns } from '../../../src/proc/turns.ts';

describe('process tree', () => {
  it('contains the process itself, its parent and pid 1, and not its siblings', async () => {
    const treeContains = await lineagesOf([process.pid, process.ppid]);
    assert.ok(treeContains(process.pid, process.pid));
    assert.ok(treeContains(process.ppid, process.pid));
    assert.ok(treeContains(1, process.pid));
    assert.ok(!treeContains(process.pid, process.ppid));
  });

  it('contains a process deep in the tree, which is read on another thread', async () => {
    // Each shell waits for the next; the last prints its pid, and stays.
    const nest =
      'n=$1; if [ "$n" -gt 0 ]; then sh -c "$0" "$0" $((n - 1)); else echo $$; read line; fi; exit 0';
    const outermost = spawn('sh', ['-c', nest, nest, '60'], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const innermost = await firstNumber(outermost);
      const lineages = lineagesOf([innermost]);
      assert.ok(lineages instanceof Promise, 'it was read at once');
      const treeContains = await lineages;
      assert.ok(treeContains(outermost.pid!, innermost));
      assert.ok(treeContains(process.pid, innermost));
      assert.ok(treeContains(1, innermost));
      assert.ok(!treeContains(innermost, process.pid));
    } finally {
      const ended = new Promise((resolve) => outermost.once('close', resolve));
      outermost.stdin!.end();
      await ended;
    }
  });

  it('stops reading after a thread that settles the question', async () => {
    const whole = await readTree(1);
    assert.ok(new Set(whole.map(({ pid }) => pid)).size > 1);
    const first = await readTree(1, () => true);
    assert.ok(first.length > 0 && first.every(({ pid }) => pid === 1));
  });

  it('stops reading at the limit, even if the tree keeps forking', async () => {
    const whole = await readTree(1);
    const cut = await readTree(1, () => false, 1);
    assert.ok(cut.length > 1 && cut.length < whole.length);
  });

  it('contains every thread of a process, with its uids', async () => {
    const thread = (tid: number, uid: number, children: string): string =>
      `State:\tS (sleeping)\nPid:\t${tid}\nTracerPid:\t3\nUid:\t${uid}\t0\t0\t0\nGid:\t${uid}\t5\t6\t7\nCapPrm:\t00c0\nCapBnd:\tffff\nNoNewPrivs:\t1\nChildren:\t${children}\n`;
    const text = `${thread(7, 1500, '8 9 ')}${thread(70, 0, '')}`;
    const { threads, children } = await readInTurns(parseProcess(7, text));
    assert.deepEqual(children, [8, 9]);
    assert.deepEqual(
      threads.map(({ tid, uids }) => [tid, ...uids]),
      [
        [7, 1500, 0, 0, 0],
        [70, 0, 0, 0, 0],
      ],
    );
    const [{ pid, gids, permitted, bounding, noNewPrivs, state, tracer }] = threads as [(typeof threads)[0]];
    assert.deepEqual([state, tracer], ['S', 3]);
    assert.deepEqual(gids, [1500, 5, 6, 7]);
    assert.deepEqual([pid, permitted, bounding, noNewPrivs], [7, 0xc0n, 0xffffn, true]);
    for (const less of ['Gid:\t1500\t5\t6', 'Gid:\t1500\t\t6\t7']) {
      const other = text.replace('Gid:\t1500\t5\t6\t7', less);
      await assert.rejects(readInTurns(parseProcess(7, other)), /does not say whose/);
    }
    await assert.rejects(
      readInTurns(parseProcess(7, text.replace('CapBnd', 'CapBad'))),
      /does not say whose/,
    );
    await assert.rejects(readInTurns(parseProcess(7, `${text}Pid:`)), /does not say whose/);
  });

  it('is parsed correctly while another process is parsed in turns', () => {
    const text = (...tids: number[]): string =>
      tids
        .map(
          (tid) =>
            `State:\tS\nPid:\t${tid}\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapPrm:\t0\nCapBnd:\t0\nNoNewPrivs:\t0\nChildren:\t\n`,
        )
        .join('');
    const slow = parseProcess(7, text(7, 70, 71));
    for (let step = slow.next(); ; step = slow.next()) {
      if (step.done) {
        assert.deepEqual(
          step.value.threads.map(({ tid }) => tid),
          [7, 70, 71],
        );
        break;
      }
      const other = parseProcess(100_000, text(100_000, 100_001));
      while (!other.next().done);
    }
  });

  it('takes no other character than a newline for the end of a cgroup’s line', () => {
    const text = '1:name=systemd:/mine\r0::/system.slice\n0::/mine\r0::/his\n';
    assert.equal(parseCgroup(text), '/mine\r0::/his');
    assert.equal(parseCgroup('1:cpu:/\n'), '/');
  });

  it('ends at a process that has gone, and at pid 1', () => {
    const parents = new Map([
      [5, 4],
      [4, 1],
      [1, 0],
    ]);
    assert.deepEqual(
      lineage(5, (pid) => parents.get(pid)),
      [5, 4, 1],
    );
    assert.deepEqual(
      lineage(9, () => undefined),
      [9],
    );
  });

  it('stops on a parent cycle, which a race with reparenting can show', () => {
    const circle = (pid: number): number => (pid === 2 ? 3 : 2);
    assert.equal(lineage(2, circle, 100).length, 100);
  });
});

function firstNumber(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.stdout!.once('data', (said) => resolve(Number(said)));
    child.once('exit', () => reject(new Error('it has ended')));
  });
}
