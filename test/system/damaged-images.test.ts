/** A restore from damaged images by a client that does not look at them first: the sentence in the reply. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Attacker } from '../hostile/support/attacker.ts';
import { directoryOf, targetOf, type User } from '../hostile/support/people.ts';
import { eventually, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { it } from './support/it.ts';
import { isFree } from './support/proc.ts';

async function restoreAs(user: User, directory: string): Promise<CriuResp> {
  const asker = new Attacker(user);
  await asker.do('open', 10, 0, directory);
  const reply = await asker.ask({ type: ReqType.RESTORE, opts: { images_dir_fd: 10 } }, ourAddress);
  await asker.end();
  assert.ok(reply !== 'closed');
  return reply;
}

const remove = (path: string): void => rmSync(path);
const cut = (path: string): void => truncateSync(path, statSync(path).size - 1);
const empty = (path: string): void => writeFileSync(path, '');

/** The way to spoil the images whose names match, and CRIU's words for it in a sentence. */
const damages: readonly [name: RegExp, spoil: (path: string) => void, sentence: RegExp][] = [
  [/./, remove, /^inventory\.img is missing: .* did not finish/],
  [/^inventory/, remove, /^inventory\.img is missing: .* did not finish/],
  [/^pstree/, remove, /crashes .*pstree\.img.* images verify/],
  [/^ids-/, remove, /^ids-PID\.img .* is missing; "criuctl images verify/],
  [/^core-/, remove, /^an image is missing; "criuctl images verify DIR" names it/],
  [/^pages-/, remove, /^an image of pages .* is missing/],
  [/^(fs|mm)-/, remove, /^CRIU has crashed, as it does without .* images verify/],
  [/^files\./, remove, /^CRIU has crashed, as it does without .* images verify/],
  [/^pagemap-/, remove, /^CRIU gives no reason, as it does without pagemap/],
  [/^(files|inventory)\./, empty, /^an image is empty; .* images verify/],
  [/^core-/, empty, /^core-\d+\.img is damaged/],
  [/^files\./, cut, /^files\.img is cut off: a record has \d+ bytes of \d+ /],
  [/^mm-/, cut, /^mm-\d+\.img is cut off: a record has \d+ bytes of \d+ /],
];

describe('a restore from damaged images by any client', () => {
  for (const user of ['root', 'alice'] as const) {
    it(`fails with a sentence about what is missing, and leads to images verify (${user})`, async () => {
      const images = directoryOf(user);
      const target = targetOf(user);
      must(criuctlAs(user, 'dump', `${target.pid}`, '-D', images));
      await target.assertGone();
      await eventually('its pid is free', () => isFree(target.pid));
      for (const [name, spoil, sentence] of damages) {
        const copy = join(directoryOf(user), 'copy');
        run('cp', '-a', images, copy);
        const spoilt = readdirSync(copy).filter((each) => name.test(each) && each.endsWith('.img'));
        assert.ok(spoilt.length > 0, `${name}`);
        for (const each of spoilt) spoil(join(copy, each));
        const { success, cr_errmsg } = await restoreAs(user, copy);
        const what = `${spoil.name} ${name}: ${cr_errmsg}`;
        assert.equal(success, false, what);
        assert.match(cr_errmsg ?? '', sentence, what);
        await eventually('its pid is free', () => isFree(target.pid));
      }
    });
  }
});
