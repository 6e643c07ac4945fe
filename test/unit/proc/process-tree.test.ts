import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { lineage, lineagesOf, parseCgroup, parseProcess, readTree } from '../../../src/proc/process-tree.ts';
import { readInTurns } from '../../../src/proc/turns.ts';

const about = { mapped: false };

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
    const first = await readTree(1, undefined, () => true);
    assert.ok(first.length > 0 && first.every(({ pid }) => pid === 1));
  });

  it('stops reading at the limit, even if the tree keeps forking', async () => {
    const whole = await readTree(1);
    const cut = await readTree(1, undefined, () => false, 1);
    assert.ok(cut.length > 1 && cut.length < whole.length);
  });

  it('contains every thread of a process, with its uids', async () => {
    const thread = (tid: number, uid: number, children: string): string =>
      `State:\tS (sleeping)\nPid:\t${tid}\nTracerPid:\t3\nUid:\t${uid}\t0\t0\t0\nGid:\t${uid}\t5\t6\t7\nGroups:\t4 24 \nCapInh:\t0a\nCapPrm:\t00c0\nCapBnd:\tffff\nNoNewPrivs:\t1\nSeccomp:\t2\nChildren:\t${children}\n`;
    const text = `${thread(7, 1500, '8 9 ')}${thread(70, 0, '')}`;
    const { threads, children } = await readInTurns(parseProcess(7, text, about));
    assert.deepEqual(children, [8, 9]);
    assert.deepEqual(
      threads.map(({ tid, uids }) => [tid, ...uids]),
      [
        [7, 1500, 0, 0, 0],
        [70, 0, 0, 0, 0],
      ],
    );
    const [{ pid, gids, inheritable, permitted, bounding, noNewPrivs, seccomp, state, tracer }] = threads as [
      (typeof threads)[0],
    ];
    assert.deepEqual([state, tracer], ['S', 3]);
    assert.deepEqual(gids, [1500, 5, 6, 7]);
    assert.deepEqual([pid, inheritable, permitted, bounding], [7, 0xan, 0xc0n, 0xffffn]);
    assert.deepEqual([noNewPrivs, seccomp], [true, 2]);
    for (const less of ['Gid:\t1500\t5\t6', 'Gid:\t1500\t\t6\t7']) {
      const other = text.replace('Gid:\t1500\t5\t6\t7', less);
      await assert.rejects(readInTurns(parseProcess(7, other, about)), /does not say whose/);
    }
    await assert.rejects(
      readInTurns(parseProcess(7, text.replace('CapBnd', 'CapBad'), about)),
      /does not say whose/,
    );
    await assert.rejects(readInTurns(parseProcess(7, `${text}Pid:`, about)), /does not say whose/);
  });

  it('tells the groups in which a thread differs from its caller', async () => {
    const thread = (groups: string): string =>
      `State:\tS\nPid:\t7\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t${groups}\nCapInh:\t0\nCapPrm:\t0\nCapBnd:\t0\nNoNewPrivs:\t0\nChildren:\t\n`;
    const groupsOf = async (own: number[], ...lists: string[]) =>
      (await readInTurns(parseProcess(7, lists.map(thread).join(''), { ...about, groups: own }))).threads.map(
        ({ otherGroups }) => otherGroups,
      );
    assert.deepEqual(await groupsOf([4, 24], '4 24 ', '=', '4 ', '='), [
      undefined,
      undefined,
      { more: [], fewer: [24] },
      { more: [], fewer: [24] },
    ]);
    assert.deepEqual(await groupsOf([], '', '4 1600 '), [undefined, { more: [4, 1600], fewer: [] }]);
    // Too many to be compared: nothing is known of them.
    assert.deepEqual(await groupsOf([4], '+'), [{ more: [], fewer: [] }]);
    assert.deepEqual(await groupsOf([1, 2, 3, 4, 5, 6], '9 '), [{ more: [9], fewer: [1, 2, 3, 4, 5] }]);
  });

  it('has the groups of this process, read by the kernel’s own words', async () => {
    const words = /^Groups:\s*([\d ]*)/m.exec(readFileSync('/proc/self/status', 'latin1'))![1]!.trim();
    const own = words === '' ? [] : words.split(' ').map(Number);
    const of = async (groups: number[]) =>
      (await readTree(process.pid, groups)).find(({ tid }) => tid === process.pid);
    assert.equal((await of(own))?.otherGroups, undefined);
    assert.deepEqual((await of([...own, 77_777]))?.otherGroups, { more: [], fewer: [77_777] });
    assert.deepEqual([(await of(own))?.seccomp, (await of(own))?.mapped], [0, false]);
  });

  it('shows a process in another user namespace', async () => {
    const inside = spawn('unshare', ['--user', 'sh', '-c', 'echo $$; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      const pid = await firstNumber(inside);
      assert.deepEqual(
        (await readTree(pid)).map(({ mapped }) => mapped),
        [true],
      );
    } finally {
      inside.stdin!.end();
    }
  });

  it('is parsed correctly while another process is parsed in turns', () => {
    const text = (...tids: number[]): string =>
      tids
        .map(
          (tid) =>
            `State:\tS\nPid:\t${tid}\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t\nCapInh:\t0\nCapPrm:\t0\nCapBnd:\t0\nNoNewPrivs:\t0\nChildren:\t\n`,
        )
        .join('');
    const slow = parseProcess(7, text(7, 70, 71), about);
    for (let step = slow.next(); ; step = slow.next()) {
      if (step.done) {
        assert.deepEqual(
          step.value.threads.map(({ tid }) => tid),
          [7, 70, 71],
        );
        break;
      }
      const other = parseProcess(100_000, text(100_000, 100_001), about);
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
