import assert from 'node:assert/strict';
import { lineage, parentOf, parseParent, readTree, treeContains } from '../../../src/policy/process-tree.ts';

describe('process tree', () => {
  it('finds the parent behind a command name that imitates the fields after it', () => {
    assert.equal(parseParent('42 (a) S 1 (b) R 7 42 42 0 -1'), 7);
  });

  it('contains the process itself, its parent and pid 1, and not its siblings', () => {
    assert.ok(treeContains(process.pid, process.pid));
    assert.ok(treeContains(process.ppid, process.pid));
    assert.ok(treeContains(1, process.pid));
    assert.ok(!treeContains(process.pid, process.ppid));
  });

  it('is read no further than there is something to be found out', async () => {
    const whole = await readTree(1);
    assert.ok(new Set(whole.map(({ pid }) => pid)).size > 1);
    const first = await readTree(1, () => true);
    assert.ok(first.length > 0 && first.every(({ pid }) => pid === 1));
  });

  it('is not read without end, whatever it forks meanwhile', async () => {
    const whole = await readTree(1);
    const cut = await readTree(1, () => false, 1);
    assert.ok(cut.length > 1 && cut.length < whole.length);
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
    assert.equal(parentOf(2 ** 30), undefined);
  });

  it('does not follow a circle, which only a reading that races with reparenting can show, for ever', () => {
    assert.ok(lineage(2, (pid) => (pid === 2 ? 3 : 2)).length <= 100_000);
  });
});
