import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Invocation, Obstacle } from '../../../src/cli/invocation.ts';
import { verifyFirst } from '../../../src/cli/verify-first.ts';
import { smallDump } from '../images/support/dump.ts';
import { withFilesDuring } from '../images/support/encode.ts';

/** The sentences of a refusal; empty for images that are left to CRIU. */
async function refusal(
  missing: readonly string[],
  noVerify = false,
  options: object = {},
): Promise<string[]> {
  return withFilesDuring(smallDump(), async (path) => {
    for (const name of missing) rmSync(join(path, name));
    try {
      await verifyFirst({ own: { noVerify }, options } as unknown as Invocation, path);
      return [];
    } catch (error) {
      assert.ok(error instanceof Obstacle, String(error));
      assert.equal(error.exitCode, 3);
      return [error.message, ...error.advice];
    }
  });
}

describe('the look at images before a restore', () => {
  it('finds nothing in the way of a whole dump', async () => {
    assert.deepEqual(await refusal([]), []);
  });

  it('names each missing image, what to do, and how to try it all the same', async () => {
    const said = await refusal(['core-8.img', 'fdinfo-2.img']);
    assert.match(said[0]!, /^RESTORE refused: core-8\.img is missing: it has the registers of a thread$/);
    assert.match(said[1]!, /^fdinfo-2\.img is missing: /);
    assert.match(said.at(-2)!, /copy the directory anew/);
    assert.match(said.at(-1)!, /criuctl images verify .*--no-verify/);
  });

  it('leaves images to CRIU with --no-verify, with lazy pages, and without an inventory', async () => {
    assert.deepEqual(await refusal(['core-8.img'], true), []);
    assert.deepEqual(await refusal(['pages-1.img'], false, { lazyPages: true }), []);
    assert.deepEqual(await refusal(['inventory.img']), []);
  });
});
