import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { fuzz } from '../../fuzz/images.ts';
import { seedDirectories } from '../../fuzz/seeds.ts';
import { withFiles } from './support/encode.ts';

describe('the reader of images, with directories that were changed at random', () => {
  it('shows, verifies and decodes them or names the fault, and leaves no file open', () => {
    withFiles({}, (place) => {
      const open = (): number => readdirSync('/proc/self/fd').length;
      const before = open();
      const { faulty, decoded } = fuzz(seedDirectories(place), 1500, 17, () => undefined);
      assert.equal(open(), before);
      // Both kinds of outcome are common.
      assert.ok(faulty > 500 && decoded > 300, `${faulty} faulty, ${decoded} decoded`);
    });
  });
});
