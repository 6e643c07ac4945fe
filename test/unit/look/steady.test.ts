import assert from 'node:assert/strict';
import { type Conclusion, conclude } from '../../../src/look/conclusion.ts';
import { steady } from '../../../src/look/steady.ts';
import type { Found, Thing } from '../../../src/look/things.ts';

function pipe(inode: number, holder = 7): Thing {
  return { kind: 'pipe', use: 'write', inode, end: 'outside', holders: [{ pid: holder, name: 'sh' }] };
}

function seen(...found: Thing[]): Conclusion {
  const of = (thing: Thing): Found => ({ pid: 1, fds: [1], thing });
  return conclude({ found: found.map(of), isRoot: false, criu: undefined, linux: '6.12' });
}

/** @returns the verdict, and the number of looks. The last look is what all further looks find. */
async function looking(...looks: (Conclusion | undefined)[]): Promise<[string | undefined, number]> {
  let count = 0;
  const once = async () => looks[Math.min(count++, looks.length - 1)];
  return [(await steady(once, async () => {}))?.verdict, count];
}

describe('a look at a tree that runs', () => {
  it('is a single look if the tree comes back, or has gone', async () => {
    assert.deepEqual(await looking(seen()), ['comes-back', 1]);
    assert.deepEqual(await looking(undefined), [undefined, 1]);
    assert.deepEqual(await looking(seen({ kind: 'session', leader: 5 })), ['with-option', 1]);
  });

  it('believes in an obstacle that three looks in a row have found', async () => {
    assert.deepEqual(await looking(seen(pipe(3))), ['does-not-come-back', 3]);
    assert.deepEqual(await looking(seen(pipe(1)), seen(pipe(2), pipe(3)), seen(pipe(3))), [
      'does-not-come-back',
      4,
    ]);
  });

  it('knows an obstacle again if other processes hold its other end', async () => {
    assert.deepEqual(await looking(seen(pipe(3, 7)), seen(pipe(3, 8)), seen(pipe(3, 9))), [
      'does-not-come-back',
      3,
    ]);
  });

  it('forgets an obstacle of a moment that two looks in a row do not find', async () => {
    assert.deepEqual(await looking(seen(pipe(3)), seen(pipe(3)), seen(), seen()), ['comes-back', 4]);
    assert.deepEqual(await looking(seen(pipe(3)), seen(), seen(pipe(4)), seen(), seen()), ['comes-back', 5]);
    assert.deepEqual(await looking(seen(pipe(3)), undefined), [undefined, 2]);
  });

  it('counts at last if it has found other obstacles each time', async () => {
    const others = Array.from({ length: 20 }, (_, at) => seen(pipe(at)));
    assert.deepEqual(await looking(...others), ['does-not-come-back', 8]);
  });
});
