/**
 * Files that alice has mapped for reading: she cannot open them through the kernel's link for the mapping (/proc/PID/map_files),
 * because that takes the capability of engines. CRIU opens files for her with this capability; so a link to such a link, in place
 * of a file of hers, must not give her write access to a file that she may only read.
 */
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { it } from './support/guarantee.ts';
import { Held } from './support/held.ts';
import { endMapped, Mapping, mapped, mappedKinds, O_RDWR, writeThrough } from './support/mappings.ts';
import { as, directoryOf } from './support/people.ts';

describe('a file that alice may only read, mapped by a process of hers', () => {
  afterEach(endMapped);

  // The control: a link is followed, and the file behind it is written, if alice may write it herself.
  it('is written by her restored process if she may write it herself', async () => {
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
      const place = how === 'open' ? 'an open file' : 'a mapping';
      it(`is not written by her restored process in place of ${place} (${kind.what})`, async () => {
        const { written, said } = await writeThrough(kind, how);
        assert.equal(written, false, `she has written into it: ${said}`);
      });
    }
  }
});
