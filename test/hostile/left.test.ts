/** Leftovers of alice's engines: the journal names them, and freezing her cgroups for the search does not last. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { messageIds } from '../../src/records/record-kinds.ts';
import { eventually, run } from '../system/support/bench.ts';
import { journal } from '../system/support/journal.ts';
import { isFree } from '../system/support/proc.ts';
import { mainPid, show } from '../system/support/unit.ts';
import { assertServed, it } from './support/guarantee.ts';
import { AlicesImages, restoreUntil } from './support/images.ts';
import { as, uids } from './support/people.ts';

describe('a leftover of alice’s engine', () => {
  let cgroup: string;
  before(() => {
    run('systemctl', 'start', 'user@1500.service');
    cgroup = join('/sys/fs/cgroup', show('user@1500.service', 'ControlGroup').ControlGroup!);
  });
  after(() => {
    run('systemctl', 'stop', 'user@1500.service');
  });

  const frozen = (): string => readFileSync(join(cgroup, 'cgroup.freeze'), 'latin1').trim();

  it('is ended and recorded in the journal, and her cgroup is thawed', async () => {
    const images = await AlicesImages.make();
    try {
      const [file, ...argv] = as('alice');
      run(file!, ...argv, 'mkdir', join(cgroup, 'left'));
      const { alice } = await restoreUntil(images, 'post-restore');
      const manager = [
        'org.freedesktop.systemd1',
        '/org/freedesktop/systemd1',
        'org.freedesktop.systemd1.Manager',
      ];
      const call = ['AttachProcessesToUnit', 'ssau', 'user@1500.service', '/left', '1', String(images.pid)];
      run(file!, ...argv, 'busctl', 'call', ...manager, ...call);
      await alice.send({ type: ReqType.NOTIFY, notify_success: true });
      await alice.receive();
      await eventually('it is gone', () => isFree(images.pid));
      const match = [`MESSAGE_ID=${messageIds.endedLeft}`, `CRIU_ENDED_PID=${images.pid}`];
      await eventually('the journal says so', () => journal(...match).length > 0);
      const [record] = journal(...match);
      assert.equal(record!.CRIU_CALLER_UID, String(uids.alice));
      assert.match(record!.CRIU_CGROUP!, /user@1500\.service\/left$/);
      assert.equal(frozen(), '0');
    } finally {
      await images.end();
    }
  });

  it('leaves no cgroup of hers frozen, even if the service is killed during the search', async () => {
    const kept = '/run/criu-service/frozen-77';
    const own = join(cgroup, 'standing');
    mkdirSync(own);
    try {
      // The service writes this file before it freezes a cgroup.
      writeFileSync(kept, `${own.slice('/sys/fs/cgroup'.length)}\n`);
      writeFileSync(join(own, 'cgroup.freeze'), '1');
      const service = mainPid();
      process.kill(service, 'SIGKILL');
      await eventually('it is back', () => mainPid() > 0 && mainPid() !== service);
      await assertServed('alice');
      assert.equal(readFileSync(join(own, 'cgroup.freeze'), 'latin1').trim(), '0');
      assert.throws(() => readFileSync(kept), /ENOENT/);
    } finally {
      rmdirSync(own);
    }
  });
});
