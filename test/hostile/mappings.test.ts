/**
 * What alice has mapped for reading she cannot open by the link that the kernel has for the mapping (/proc/PID/map_files): that takes
 * the capability which engines have. CRIU opens files for her with it; so a link to such a link, in the place of a file of hers, must
 * not give her what she only sees, to write into.
 */
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { it } from './support/guarantee.ts';
import { Held } from './support/held.ts';
import { endMapped, Mapping, mapped, mappedKinds, O_RDWR, writeThrough } from './support/mappings.ts';
import { as, directoryOf } from './support/people.ts';

describe('what alice may only read, mapped by a process of hers', () => {
  afterEach(endMapped);

  // The control: a link is followed, and what is behind it is written, where she may do so herself.
  it('is written by what is restored for her, where she may write it herself', async () => {
    const owner = new Mapping(mapped(as('alice'), 'file', join(directoryOf('alice'), 'file')), /\/file$/);
    const held = await Held.make('map', O_RDWR, { mode: 0o100666, size: 4096 });
    held.replaceBy(readlinkSync(owner.link));
    const reply = await held.images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    assert.equal(await held.write(), 0);
    await held.images.end();
    assert.match(owner.content, /^ALICE WAS HERE/);
  });

  for (const kind of mappedKinds) {
    for (const how of ['open', 'map'] as const) {
      const what = how === 'open' ? 'an open file' : 'mapped';
      it(`is not written by what is restored for her, where it was ${what} (${kind.what})`, async () => {
        const { written, said } = await writeThrough(kind, how);
        assert.equal(written, false, `she has written into it: ${said}`);
      });
    }
  }
});
