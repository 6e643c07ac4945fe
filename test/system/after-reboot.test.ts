/** State after the machine has been started again: the second run of run.sh. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { run, succeeds } from './support/bench.ts';
import { ask, withOpen } from './support/client.ts';
import { itElsewhere } from './support/it.ts';
import { bootId, findLeft } from './support/other-boot.ts';
import { Target } from './support/targets.ts';
import { show } from './support/unit.ts';

describe('over a reboot', () => {
  const left = findLeft();

  itElsewhere('the socket stays enabled and listens, and no service runs yet', () => {
    assert.notEqual(bootId(), left.bootId);
    assert.equal(succeeds('systemctl', 'is-enabled', 'criu.socket'), true);
    assert.deepEqual(show('criu.socket', 'ActiveState', 'SubState'), {
      ActiveState: 'active',
      SubState: 'listening',
    });
    assert.equal(show('criu.service', 'ActiveState').ActiveState, 'inactive');
  });

  itElsewhere('the pid counter was moved to the upper half before a user could log in', () => {
    const [moved, admitted] = ['criu-pids.service', 'systemd-user-sessions.service'].map((unit) =>
      Number(show(unit, 'ActiveEnterTimestampMonotonic').ActiveEnterTimestampMonotonic),
    );
    assert.ok(moved! > 0 && moved! <= admitted!, `${moved} and ${admitted}`);
    // The bench sets the counter once more, for the tests (test/bench/README.md).
    const told = run('journalctl', '--boot', '--unit=criu-pids.service', '--output=cat', '--no-pager');
    const [, place, pids] = /^The pid counter is moved from \d+ to (\d+) of (\d+)$/m.exec(told) ?? [];
    assert.ok(Number(place) >= Number(pids) / 2, told);
  });

  itElsewhere('a process that was dumped before the reboot counts on from its last number', async () => {
    const target = new Target(left.pid, left.countFile);
    assert.equal(target.alive, false);
    assert.equal(target.count, left.count);
    const reply = await withOpen([left.images], (fd) =>
      ask({ type: ReqType.RESTORE, opts: { images_dir_fd: fd, log_file: 'restore.log', log_level: 4 } }),
    );
    assert.equal(reply.success, true, JSON.stringify(reply));
    await target.assertCountsOn();
    assert.ok(target.count > left.count);
    await target.kill();
  });
});
