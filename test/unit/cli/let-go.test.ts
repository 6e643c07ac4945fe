/** CRIU at work on a job after its request is over. */
import assert from 'node:assert/strict';
import { isLetGo } from '../../../src/cli/job/let-go.ts';

const status = (tracer: number): string => `Name:\tsteps\nPPid:\t7\nTracerPid:\t${tracer}\nUid:\t0\n`;

describe('a job whose request is over', () => {
  /** @param looks what each look at it finds; the last one repeats. @returns the answer, and the number of looks */
  async function look(...looks: string[]): Promise<readonly [boolean, number]> {
    let number = 0;
    const statusOf = (pid: number): string => {
      assert.equal(pid, 42);
      number += 1;
      return looks[Math.min(number, looks.length) - 1]!;
    };
    return [await isLetGo(42, statusOf, () => Promise.resolve()), number];
  }

  it('is waited for as long as CRIU traces it, and no longer', async () => {
    assert.deepEqual(await look(status(0), status(9)), [true, 1]);
    assert.deepEqual(await look(status(9), status(9), status(0), status(9)), [true, 3]);
  });

  it('is let go if it has ended', async () => {
    assert.deepEqual(await look(status(9), ''), [true, 2]);
  });

  it('is given up at last if CRIU never lets it go', async () => {
    const [isFree, looks] = await look(status(9));
    assert.equal(isFree, false);
    assert.ok(looks > 1000);
  });
});
