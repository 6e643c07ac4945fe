/** A service that exits while it is idle, and that systemd restarts if it hangs. */
import assert from 'node:assert/strict';
import { ReqType } from '../../src/protocol/messages.ts';
import { eventually, freshDirectory, inVm, run } from './support/bench.ts';
import { ask, Client, withOpen } from './support/client.ts';
import { it } from './support/it.ts';
import { isAlive } from './support/proc.ts';
import { withSettings } from './support/settings.ts';
import { Target } from './support/targets.ts';
import { mainPid, show } from './support/unit.ts';

/** Longer than the checks before each test usually take. A service that leaves sooner is checked no less: it has left. */
const idleSeconds = inVm ? 10 : 5;

describe('an idle service', () => {
  withSettings('ExecStart=', `ExecStart=/usr/lib/criu-service/criu-service --idle-timeout ${idleSeconds}`);

  it('exits, and is started again for the next request', async () => {
    await ask({ type: ReqType.VERSION });
    const pid = mainPid();
    await eventually('it has left', () => mainPid() === 0 && !isAlive(pid));
    assert.equal((await ask({ type: ReqType.VERSION })).success, true);
    assert.equal(show('criu.service', 'Result').Result, 'success');
  });

  it('stays while a caller is connected', async () => {
    const client = new Client();
    const first = await client.send({ type: ReqType.VERSION, keep_open: true }).next();
    assert.ok(first !== 'closed' && first.success);
    const pid = mainPid();
    await new Promise((resolve) => setTimeout(resolve, 2000 * idleSeconds));
    assert.equal(mainPid(), pid);
    assert.equal((await client.send({ type: ReqType.VERSION }).only()).success, true);
  });
});

/** Time enough for the service to ask systemd for more. */
const stopSeconds = 20;

describe('a stop of the service', () => {
  withSettings(`TimeoutStopSec=${stopSeconds}s`);

  it('waits for a dump at work beyond systemd’s timeout, and the dump succeeds', async () => {
    const target = Target.start();
    await withOpen([freshDirectory()], async (images) => {
      const client = new Client();
      const opts = { images_dir_fd: images, pid: target.pid, notify_scripts: true, leave_running: true };
      client.send({ type: ReqType.DUMP, opts });
      await client.notified('pre-dump');
      run('systemctl', 'stop', '--no-block', 'criu.service');
      await eventually('it tells what it waits for', () =>
        show('criu.service', 'StatusText').StatusText!.startsWith('Stopping, waiting for 1 of 1 '),
      );
      await new Promise((resolve) => setTimeout(resolve, 1000 * (stopSeconds + 2)));
      assert.equal(show('criu.service', 'ActiveState').ActiveState, 'deactivating');
      client.answer(true);
      await client.notified('query-ext-files');
      client.answer(true);
      await client.notified('post-dump');
      const reply = await client.answer(true).only();
      assert.equal(reply.success, true, JSON.stringify(reply));
    });
    await eventually('it has stopped', () => show('criu.service', 'ActiveState').ActiveState === 'inactive');
    assert.equal(show('criu.service', 'Result').Result, 'success');
    await target.assertCountsOn();
  });
});

describe('a stop of the service with a caller that answers no notification', () => {
  withSettings(
    `TimeoutStopSec=${stopSeconds}s`,
    'ExecStart=',
    `ExecStart=/usr/lib/criu-service/criu-service --stop-timeout ${stopSeconds + 2}`,
  );

  it('has CRIU roll back, tells the caller, and ends by itself; the process runs on', async () => {
    const target = Target.start();
    await withOpen([freshDirectory()], async (images) => {
      const client = new Client();
      const opts = { images_dir_fd: images, pid: target.pid, notify_scripts: true };
      client.send({ type: ReqType.DUMP, opts });
      await client.notified('pre-dump');
      run('systemctl', 'stop', '--no-block', 'criu.service');
      const reply = await client.only();
      assert.equal(reply.success, false);
      assert.match(reply.cr_errmsg ?? '', /this service stops/);
    });
    await eventually('it has stopped', () => show('criu.service', 'ActiveState').ActiveState === 'inactive');
    assert.equal(show('criu.service', 'Result').Result, 'success');
    await target.assertCountsOn();
  });
});

describe('a reload', () => {
  it('is reported to systemd, which waits for its end, and the service runs on', async () => {
    await ask({ type: ReqType.VERSION });
    const pid = mainPid();
    run('systemctl', 'reload', 'criu.service');
    assert.equal(mainPid(), pid);
    assert.deepEqual(show('criu.service', 'ActiveState', 'SubState'), {
      ActiveState: 'active',
      SubState: 'running',
    });
    assert.equal((await ask({ type: ReqType.VERSION })).success, true);
  });
});

describe('a service that hangs', () => {
  // Time enough for the service that follows to be there.
  withSettings('WatchdogSec=20s');

  it('is restarted by the watchdog, and goes on with its sessions', async () => {
    const target = Target.start();
    await withOpen([freshDirectory()], async (images) => {
      const client = new Client();
      const opts = { images_dir_fd: images, pid: target.pid, notify_scripts: true, leave_running: true };
      client.send({ type: ReqType.DUMP, opts });
      await client.notified('pre-dump');
      const pid = mainPid();
      assert.ok(pid > 0);
      process.kill(pid, 'SIGSTOP');
      await eventually('another one is there', () => mainPid() > 0 && mainPid() !== pid);
      client.answer(true);
      await client.notified('query-ext-files', 'pre-dump');
      client.answer(true);
      await client.notified('post-dump');
      const reply = await client.answer(true).only();
      assert.equal(reply.success, true, JSON.stringify(reply));
    });
    await target.assertCountsOn();
  });
});
