import assert from 'node:assert/strict';
import { endedAsOrphans } from '../../../src/policy/stopped-job.ts';
import type { JobProcess } from '../../../src/proc/jobs.ts';

/** The root of a tree: a job of the shell 50, with a process group of its own. */
const root: JobProcess = { pid: 100, parent: 50, group: 100, session: 50, stopped: false };
const child: JobProcess = { ...root, pid: 101, parent: 100 };

describe('a stopped job', () => {
  it('would be ended after a restore if a member of the root’s group is stopped', () => {
    for (const tree of [[{ ...root, stopped: true }], [root, { ...child, stopped: true }]]) {
      const obstacle = endedAsOrphans(100, tree);
      assert.equal(obstacle?.pid, tree.at(-1)!.pid);
      assert.match(obstacle.remedy, /kill -CONT.*-R/);
    }
  });

  it('comes back if nothing of the root’s group is stopped, or the root leads its session, or its group has another leader', () => {
    const stopped = { ...root, stopped: true };
    for (const tree of [
      [],
      [root, child],
      [root, { ...child, group: 101, stopped: true }],
      [{ ...stopped, session: 100 }],
      [{ ...stopped, group: 99 }],
    ]) {
      assert.equal(endedAsOrphans(100, tree), undefined);
    }
  });

  it('comes back if a parent within the tree, in another group of the session, holds its group', () => {
    const manager = { ...child, group: 101 };
    const held = { ...root, pid: 102, parent: 101, stopped: true };
    assert.equal(endedAsOrphans(100, [root, manager, held]), undefined);
    assert.notEqual(endedAsOrphans(100, [root, { ...manager, session: 101 }, held]), undefined);
  });
});
