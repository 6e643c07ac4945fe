import assert from 'node:assert/strict';
import type { ReadThread } from '../../../src/proc/process-tree.ts';
import { TreeReader } from '../../../src/proc/tree-reader.ts';

const ends = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('TreeReader', () => {
  it('reads one tree of a user at a time, in their order, and trees of other users concurrently', async () => {
    const begun: number[] = [];
    const finish = new Map<number, (failed?: Error) => void>();
    const reader = new TreeReader((root) => {
      begun.push(root);
      return new Promise<ReadThread[]>((resolve, reject) =>
        finish.set(root, (failed) => (failed ? reject(failed) : resolve([]))),
      );
    });
    const [first, second, bobs, third] = [
      reader.read(1500, 1),
      reader.read(1500, 2),
      reader.read(1501, 3),
      reader.read(1500, 4),
    ];
    await ends();
    assert.deepEqual(begun, [1, 3]);
    finish.get(1)!(new Error('cannot be read'));
    await assert.rejects(first!, /cannot be read/);
    await ends();
    assert.deepEqual(begun, [1, 3, 2]);
    for (const root of [2, 3]) finish.get(root)!();
    await Promise.all([second, bobs]);
    await ends();
    assert.deepEqual(begun, [1, 3, 2, 4]);
    finish.get(4)!();
    assert.deepEqual(await third, []);
  });
});
