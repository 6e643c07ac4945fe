import assert from 'node:assert/strict';
import { Coalesced } from '../../../src/session/trees/coalesced.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('coalesced work', () => {
  it('runs one at a time, and once for all items that were added meanwhile', async () => {
    const begun: number[][] = [];
    const finish: ((failed?: Error) => void)[] = [];
    const work = new Coalesced<number>(
      (items) =>
        new Promise((resolve, reject) => {
          begun.push([...items]);
          finish.push((failed) => (failed ? reject(failed) : resolve()));
        }),
    );
    const over: number[] = [];
    const add = (item: number): Promise<void> => work.add(item).then(() => void over.push(item));
    const first = [add(1), add(2)];
    await turn();
    // The run in flight may have passed the place of a new item.
    const second = [add(3), add(4)];
    await turn();
    assert.deepEqual(begun, [[1, 2]]);
    finish[0]!();
    await Promise.all(first);
    await turn();
    assert.deepEqual(
      [begun, over],
      [
        [
          [1, 2],
          [3, 4],
        ],
        [1, 2],
      ],
    );
    const third = add(5);
    finish[1]!(new Error('cannot be done'));
    for (const each of second) await assert.rejects(each, /cannot be done/);
    await turn();
    assert.deepEqual(begun.at(-1), [5]);
    finish[2]!();
    await third;
  });
});
