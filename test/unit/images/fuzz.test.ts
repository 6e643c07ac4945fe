import assert from 'node:assert/strict';
import { fuzz } from '../../fuzz/images.ts';
import { seedDirectories } from '../../fuzz/seeds.ts';
import { openBelow, withFiles } from './support/encode.ts';

describe('the reader of images, with directories that were changed at random', () => {
  it('shows, verifies and decodes them or names the fault, and leaves no file open', () => {
    withFiles({}, (place) => {
      const { faulty, decoded } = fuzz(seedDirectories(place), 600, 17, () => undefined);
      assert.deepEqual(openBelow('fuzz-'), []);
      // Both kinds of outcome are common.
      assert.ok(faulty > 200 && decoded > 120, `${faulty} faulty, ${decoded} decoded`);
    });
  });
});
