/** The view of an operator: systemctl and journalctl. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { constants as os, release } from 'node:os';
import { join } from 'node:path';
import { limitsOf, parseCriuVersion } from '../../src/policy/criu-version.ts';
import { ReqType } from '../../src/protocol/messages.ts';
import { messageIds } from '../../src/records/record-kinds.ts';
import { eventually, freshDirectory, inVm, run, succeeds } from './support/bench.ts';
import { ask, Client, withOpen } from './support/client.ts';
import { it } from './support/it.ts';
import { assertAllIsTold, cursor, journal, records } from './support/journal.ts';
import { endProcess } from './support/proc.ts';
import { pycriuUnder } from './support/pycriu.ts';
import { Target } from './support/targets.ts';
import { mainPid, show } from './support/unit.ts';

/** Syslog's levels, as the journal stores them. */
const priority = { warning: '4', info: '6' };

async function status(pattern: RegExp): Promise<void> {
  await eventually(`the status matches ${pattern}`, () =>
    pattern.test(show('criu.service', 'StatusText').StatusText ?? ''),
  );
}

/** The end of the status: what does not work with the CRIU of this machine. */
function limits(): string {
  const criu = parseCriuVersion(run('criu', '--version'));
  assert.ok(criu);
  return limitsOf(criu, release())
    .map((limit) => `; ${limit}`)
    .join('');
}

async function statusIs(text: string): Promise<void> {
  await eventually(`the status is ${text}`, () => show('criu.service', 'StatusText').StatusText === text);
}

describe('criu.service under systemd', () => {
  it('is started by the first connection, reports that it is ready, and serves that connection', async () => {
    run('systemctl', 'stop', 'criu.service');
    assert.equal(show('criu.service', 'ActiveState').ActiveState, 'inactive');
    assert.equal(show('criu.socket', 'ActiveState').ActiveState, 'active');
    const reply = await ask({ type: ReqType.VERSION });
    assert.equal(reply.success, true);
    const after = show('criu.service', 'ActiveState', 'SubState', 'Type', 'MainPID');
    assert.deepEqual([after.ActiveState, after.SubState, after.Type], ['active', 'running', 'notify-reload']);
    assert.match(run('ps', '-o', 'args=', '-p', after.MainPID!), /criu-service/);
  });

  it('counts its connections and requests in its status', async () => {
    run('systemctl', 'restart', 'criu.service');
    await statusIs(`Serving 0 of 0 connections; 0 requests done, 0 failed, 0 refused${limits()}`);
    await ask({ type: ReqType.VERSION });
    await ask({ type: ReqType.RESTORE, opts: { images_dir_fd: 9999 } });
    await ask({ type: ReqType.EMPTY });
    await statusIs(`Serving 0 of 0 connections; 1 requests done, 1 failed, 1 refused${limits()}`);
    const waiting = new Client();
    await status(/^Serving 0 of 1 connections/);
    waiting.close();
    await status(/^Serving 0 of 0 connections/);
  });

  it('writes a record for each request, with its priority and its fields', async () => {
    const target = Target.start();
    await withOpen([freshDirectory()], async (fd) => {
      const opts = { images_dir_fd: fd, pid: target.pid, leave_running: true };
      assert.equal((await ask({ type: ReqType.DUMP, opts })).success, true);
    });
    const [accepted, done] = await records(2, `CRIU_TARGET_PID=${target.pid}`);
    assert.ok(accepted && done);
    assert.equal(accepted.MESSAGE_ID, messageIds.accepted);
    assert.equal(accepted.CRIU_SESSION, done.CRIU_SESSION);
    assert.equal(done.MESSAGE_ID, messageIds.done);
    assert.equal(done.PRIORITY, priority.info);
    assert.equal(done.CRIU_REQUEST, 'DUMP');
    assert.equal(done.CRIU_RESULT, 'done');
    assert.equal(done.CRIU_CALLER_PID, `${process.pid}`);
    assert.equal(done.CRIU_CALLER_UID, '0');
    assert.ok(Number(done.CRIU_DURATION_USEC) > 0);
    assert.match(done.MESSAGE ?? '', new RegExp(`DUMP of process ${target.pid}`));
    await target.assertCountsOn();
  });

  it('warns of a refusal and of a failure', async () => {
    const target = Target.start();
    const alice = ['runuser', '-u', 'alice', '--'];
    const { pid } = pycriuUnder<{ pid: number }>(alice, 'every_type', target.pid);
    await assertAllIsTold();
    const refused = journal(`CRIU_CALLER_PID=${pid}`, 'CRIU_RESULT=refused');
    for (const entry of refused) {
      assert.equal(entry.PRIORITY, priority.warning);
      assert.equal(entry.CRIU_CALLER_UID, '1500');
    }
    const messages = refused.map((entry) => `${entry.CRIU_ERRNO}: ${entry.MESSAGE}`);
    for (const type of ['DUMP', 'RESTORE', 'CHECK', 'PRE_DUMP', 'PAGE_SERVER', 'SINGLE_PRE_DUMP']) {
      assert.ok(
        messages.some((message) => message.startsWith('1: ') && message.includes(`${type} refused: `)),
        messages.join('\n'),
      );
    }
    const before = cursor();
    await ask({ type: ReqType.RESTORE, opts: { images_dir_fd: 9998 } });
    const [failed] = await records(
      1,
      `--after-cursor=${before}`,
      'CRIU_REQUEST=RESTORE',
      'CRIU_RESULT=failed',
    );
    assert.equal(failed!.PRIORITY, priority.warning);
  });

  it('stops on request, and its socket starts it again', async () => {
    await ask({ type: ReqType.VERSION });
    const before = mainPid();
    run('systemctl', 'stop', 'criu.service');
    const stopped = show('criu.service', 'ActiveState', 'Result', 'ExecMainStatus', 'StatusText');
    assert.deepEqual(
      [stopped.ActiveState, stopped.Result, stopped.ExecMainStatus],
      ['inactive', 'success', '0'],
    );
    assert.equal((await ask({ type: ReqType.VERSION })).success, true);
    assert.notEqual(mainPid(), before);
  });

  it('gives a silent connection one reply when it stops', async () => {
    await ask({ type: ReqType.VERSION });
    const waiting = new Client();
    await status(/^Serving 0 of 1 connections/);
    const only = waiting.only();
    run('systemctl', 'stop', 'criu.service');
    const reply = await only;
    assert.deepEqual([reply.type, reply.success, reply.cr_errno], [ReqType.EMPTY, false, os.errno.EAGAIN]);
    assert.match(reply.cr_errmsg ?? '', /stopping/);
  });

  it('finishes a dump in flight when it is told to stop', async () => {
    const target = Target.start();
    await withOpen([freshDirectory()], async (fd) => {
      const client = new Client().send({
        type: ReqType.DUMP,
        opts: { images_dir_fd: fd, pid: target.pid, notify_scripts: true, leave_running: true },
      });
      await client.notified('pre-dump');
      run('systemctl', 'stop', '--no-block', 'criu.service');
      await eventually(
        'it is stopping',
        () => show('criu.service', 'ActiveState').ActiveState === 'deactivating',
      );
      await client.answer(true).notified('query-ext-files');
      await client.answer(true).notified('post-dump');
      const reply = await client.answer(true).only();
      assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, true]);
      await eventually(
        'it has stopped',
        () => show('criu.service', 'ActiveState').ActiveState === 'inactive',
      );
    });
    await target.assertCountsOn();
  });

  it('answers activation after activation: no start limit ever closes its socket', async () => {
    assert.equal(show('criu.service', 'StartLimitIntervalUSec').StartLimitIntervalUSec, '0');
    assert.equal(show('criu.socket', 'TriggerLimitIntervalUSec').TriggerLimitIntervalUSec, '0');
    // systemd's own limit is five starts in 10 s, which emulation does not reach.
    for (let i = 0; i < (inVm ? 3 : 30); i += 1) {
      const pid = mainPid();
      if (pid > 0) endProcess(pid);
      assert.equal((await ask({ type: ReqType.VERSION })).success, true);
    }
    assert.equal(succeeds('systemctl', 'is-active', 'criu.socket'), true);
  });
});

describe('criu.socket and criu.service', () => {
  it('pass systemd-analyze verify', async () => {
    const { status, stdout, stderr } = spawnSync(
      'systemd-analyze',
      [
        'verify',
        '--recursive-errors=no',
        'criu.socket',
        'criu.service',
        'criu-kerndat.service',
        'criu-pids.service',
      ],
      { encoding: 'utf8' },
    );
    assert.deepEqual([status, stdout, stderr], [0, '', '']);
  });
});

describe('criu-pids.service', () => {
  const half = (): number => Math.floor(Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8')) / 2);
  const startedPid = (): number => Number(run('/bin/sh', '-c', 'echo $$'));

  it('is started by criu.socket, once, and from then on new processes have pids in the upper half', async () => {
    const started = 'ExecMainStartTimestampMonotonic';
    const before = show('criu-pids.service', 'ActiveState', 'Result', started);
    assert.deepEqual([before.ActiveState, before.Result], ['active', 'success']);
    run('systemctl', 'stop', 'criu.service', 'criu.socket');
    run('systemctl', 'start', 'criu.socket');
    assert.equal((await ask({ type: ReqType.VERSION })).success, true);
    assert.deepEqual(show('criu-pids.service', started), { [started]: before[started] });
    assert.ok(startedPid() >= half(), `${startedPid()}`);
  });

  it('moves the counter from the lower half with no more rights than its unit leaves it', async () => {
    writeFileSync('/proc/sys/kernel/ns_last_pid', '1000');
    run('systemctl', 'restart', 'criu-pids.service');
    assert.ok(startedPid() >= half(), `${startedPid()}`);
  });
});

describe('a service that systemd does not hear', () => {
  /** Started by its socket, as the real service is. Its store, its status and its readiness go nowhere. */
  async function withoutListener(
    notifySocket: string,
    body: (address: string) => Promise<void>,
  ): Promise<void> {
    const [unit, address] = ['criu-unheard', '/run/criu-unheard.socket'];
    run(
      'systemd-run',
      '--quiet',
      '--collect',
      `--unit=${unit}`,
      `--socket-property=ListenSequentialPacket=${address}`,
      '--property=Type=exec',
      `--setenv=NOTIFY_SOCKET=${notifySocket}`,
      '/usr/sbin/criu-service',
    );
    try {
      await body(address);
      const pid = mainPid(`${unit}.service`);
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      assert.ok(environment.includes(`NOTIFY_SOCKET=${notifySocket}`));
      assert.ok(environment.includes('LISTEN_FDS=1'));
    } finally {
      run('systemctl', 'stop', `${unit}.socket`, `${unit}.service`);
    }
  }

  /** A socket that its owner has closed. */
  function abandonedSocket(): string {
    const path = join(freshDirectory(), 'notify');
    const script = 'import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(sys.argv[1])';
    run('python3', '-c', script, path);
    return path;
  }

  for (const [how, socket] of [
    ['removed', () => '/run/gone/notify'],
    ['closed', abandonedSocket],
  ] as const) {
    it(`because its notification socket was ${how} answers requests and finishes dumps`, async () => {
      await withoutListener(socket(), async (address) => {
        assert.equal((await ask({ type: ReqType.VERSION }, address)).success, true);
        const target = Target.start();
        await withOpen([freshDirectory()], async (fd) => {
          const client = new Client(address).send({
            type: ReqType.DUMP,
            opts: { images_dir_fd: fd, pid: target.pid, notify_scripts: true, leave_running: true },
          });
          for (const script of ['pre-dump', 'query-ext-files', 'post-dump']) {
            await client.notified(script);
            client.answer(true);
          }
          const reply = await client.only();
          assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, true]);
        });
        await target.assertCountsOn();
      });
    });
  }
});
