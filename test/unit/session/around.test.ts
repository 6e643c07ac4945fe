import assert from 'node:assert/strict';
import type { Surroundings } from '../../../src/proc/surroundings.ts';
import { Around } from '../../../src/session/caller/around.ts';

const caller: Surroundings = {
  pid: 1,
  namespaces: { uts: 'uts:[1]', cgroup: 'cgroup:[1]' },
  root: '/ mnt_id 28',
  label: undefined,
  hardLimits: new Map(),
};
const inCgroup = (pid: number) => ({
  ...caller,
  pid,
  namespaces: { ...caller.namespaces, cgroup: 'cgroup:[2]' },
});

/** A reader that finds these processes, or fails. */
const reader = (...batches: (Surroundings[] | Error)[]) => ({
  async *surroundingsOf() {
    for (const batch of batches) {
      if (batch instanceof Error) throw batch;
      yield batch;
    }
  },
});

describe('the surroundings of a whole tree', () => {
  it('are no obstacle if they are the caller’s', async () => {
    const around = new Around(1);
    await around.read(reader([caller, { ...caller, pid: 7 }]), 1500, [1, 7]);
    assert.deepEqual(around.obstacles, []);
  });

  it('give one obstacle for each consequence, however many processes there are', async () => {
    const around = new Around(1);
    await around.read(reader([caller, inCgroup(7), inCgroup(8)], [inCgroup(9)]), 1500, [1, 7, 8, 9]);
    await around.read(reader([inCgroup(10)]), 1500, [10]);
    assert.deepEqual(
      around.obstacles.map(({ pid, consequence }) => [pid, consequence]),
      [[7, 'no-restore']],
    );
  });

  it('are an obstacle to any dump if they cannot be read, or have no caller to be compared with', async () => {
    for (const failing of [reader(new Error('it is inside execve(2)')), reader([{ ...caller, pid: 7 }])]) {
      const around = new Around(1);
      await around.read(failing, 1500, [1, 7]);
      assert.deepEqual(
        around.obstacles.map(({ pid, consequence }) => [pid, consequence]),
        [[7, 'no-dump']],
      );
    }
  });
});
