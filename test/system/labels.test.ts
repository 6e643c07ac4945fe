/**
 * A caller under a security label of its own, here an AppArmor profile: its engine and its restored processes get the same label.
 */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriuOpts, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { as, directoryOf, startCounting, uids } from '../hostile/support/people.ts';
import { binary, cannotShowHere, eventually, freshDirectory, run } from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { engines } from './support/it.ts';
import type { Target } from './support/targets.ts';

const profile = 'criu-service-test';
const label = `${profile} (enforce)`;
const underIt = ['aa-exec', '--profile', profile, '--'];

/** A directory that no process under the profile may write, not even its owner. */
const barred = join(freshDirectory(), 'barred');

function needsAppArmor(context: Mocha.Context): void {
  if (!existsSync('/sys/kernel/security/apparmor/.replace')) {
    cannotShowHere(context, 'AppArmor is not active on this kernel');
  }
  const file = join(freshDirectory(), 'profile');
  // CRIU maps files that have no name, and restores the profile of a process.
  const rules = ['allow all,', `change_profile -> ${profile},`, `deny ${barred}/** wl,`];
  writeFileSync(file, `profile ${profile} flags=(attach_disconnected) {\n${rules.join('\n')}\n}\n`);
  run('apparmor_parser', '--replace', '--skip-cache', file);
}

const labelOf = (pid: number) => readFileSync(`/proc/${pid}/attr/current`, 'latin1').trim();

const counter = (...under: string[]): Target => startCounting('alice', [], ...under, binary('counter'));

/** alice asks under the profile, unless `under` is empty; `meanwhile` runs at the first notification, and then she answers. */
async function ask(
  type: ReqType,
  images: string,
  opts: Partial<CriuOpts>,
  meanwhile: () => void = () => {},
  under: readonly string[] = underIt,
): Promise<CriuResp> {
  const alice = new Client('alice', { under: [...as('alice'), ...under] });
  await alice.do('open', 10, 0, images);
  let message = await alice.ask(
    { type, opts: { images_dir_fd: 10, log_level: 4, log_file: 'log', notify_scripts: true, ...opts } },
    ourAddress,
  );
  if (message !== 'closed' && message.type === ReqType.NOTIFY) meanwhile();
  while (message !== 'closed' && message.type === ReqType.NOTIFY) {
    await alice.send({ type: ReqType.NOTIFY, notify_success: true });
    message = await alice.receive();
  }
  await alice.end();
  assert.ok(message !== 'closed');
  return message;
}

describe('a caller under an AppArmor profile', () => {
  it('gets an engine and a restored process under the same profile', async function () {
    needsAppArmor(this);
    const target = counter(...underIt);
    const images = directoryOf('alice');
    assert.equal(labelOf(target.pid), label);
    const dumped = await ask(ReqType.DUMP, images, { pid: target.pid }, () => {
      assert.deepEqual(engines().map(labelOf), [label]);
    });
    assert.equal(dumped.success, true, JSON.stringify(dumped));
    await target.assertGone();
    const restored = await ask(ReqType.RESTORE, images, {});
    assert.equal(restored.success, true, JSON.stringify(restored));
    await target.assertCountsOn();
    assert.equal(labelOf(target.pid), label);
  });

  it('gets back a process under its profile, even if the images are of an unconfined process', async function () {
    needsAppArmor(this);
    const target = counter();
    const images = directoryOf('alice');
    assert.equal(labelOf(target.pid), 'unconfined');
    const dumped = await ask(ReqType.DUMP, images, { pid: target.pid }, undefined, []);
    assert.equal(dumped.success, true, JSON.stringify(dumped));
    await target.assertGone();
    const restored = await ask(ReqType.RESTORE, images, {});
    assert.equal(restored.success, true, JSON.stringify(restored));
    assert.equal(labelOf(target.pid), label);
  });

  it('cannot end a process under another label, which would not come back, and may dump it while it runs on', async function () {
    needsAppArmor(this);
    const target = counter();
    const refused = await ask(ReqType.DUMP, directoryOf('alice'), { pid: target.pid });
    assert.equal(refused.success, false);
    assert.match(
      refused.cr_errmsg ?? '',
      /has the security label unconfined, and yours is criu-service-test/,
    );
    await target.assertCountsOn();
    const dumped = await ask(ReqType.DUMP, directoryOf('alice'), { pid: target.pid, leave_running: true });
    assert.equal(dumped.success, true, JSON.stringify(dumped));
    assert.match(dumped.cr_errmsg ?? '', /^warning: .*security label unconfined/);
    await target.assertCountsOn();
  });

  it('cannot dump to a directory that the profile denies, and the target runs on', async function () {
    needsAppArmor(this);
    mkdirSync(barred, { recursive: true });
    chmodSync(join(barred, '..'), 0o755);
    chownSync(barred, uids.alice, uids.alice);
    const target = counter(...underIt);
    const refused = await ask(ReqType.DUMP, barred, { pid: target.pid });
    assert.equal(refused.success, false);
    assert.match(refused.cr_errmsg ?? '', /EACCES|[Pp]ermission/);
    await eventually('no engine is left', () => engines().length === 0);
    await target.assertCountsOn();
    const dumped = await ask(ReqType.DUMP, directoryOf('alice'), { pid: target.pid });
    assert.equal(dumped.success, true, JSON.stringify(dumped));
  });
});
