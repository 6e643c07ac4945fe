/** Features that the machine lacks: each refusal says how to mend it, in the reply and in the journal. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isBefore, parseCriuVersion } from '../../src/policy/criu-version.ts';
import { type CriuOpts, ImageIoMode, ReqType } from '../../src/protocol/messages.ts';
import { Attacker as Client } from '../hostile/support/attacker.ts';
import { assertRefused, it } from '../hostile/support/guarantee.ts';
import { unshackled } from '../hostile/support/images.ts';
import { directoryOf, startCounting } from '../hostile/support/people.ts';
import {
  attackIsImpossible,
  binary,
  cannotShowHere,
  eventually,
  run,
  tracksMemory,
} from './support/bench.ts';
import { ourAddress } from './support/client.ts';
import { criuctlAs, must } from './support/criuctl.ts';
import { Instance } from './support/instance.ts';
import { assertAllIsTold, cursor, journalOf, records } from './support/journal.ts';

/** alice's refusal, which the journal must contain, too. */
async function refusalOf(
  type: ReqType,
  opts: Partial<CriuOpts>,
  address = ourAddress,
  unit = 'criu.service',
): Promise<RegExp> {
  const alice = new Client('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  const reply = await alice.ask({ type, opts: { images_dir_fd: 10, ...opts } }, address);
  await alice.end();
  assertRefused(reply, /./);
  const sentence = reply === 'closed' ? '' : (reply.cr_errmsg ?? '');
  await eventually(
    `the last record says: ${sentence}`,
    () => journalOf(unit, 'CRIU_CALLER_UID=1500').at(-1)?.MESSAGE?.includes(sentence) === true,
  );
  return new RegExp(sentence.replaceAll(/[^\w ]/g, '.'));
}

describe('a refusal with advice', () => {
  it('names a CRIU before 3.18', async () => {
    const file = join(directoryOf('root'), 'criu');
    writeFileSync(file, '#!/bin/sh\necho Version: 3.17.1\n');
    chmodSync(file, 0o755);
    const service = await Instance.start('--criu', file);
    try {
      const sentence = await refusalOf(ReqType.CPUINFO_DUMP, {}, service.address, service.unit);
      assert.match(sentence.source, /criu 3.17.1 serves only root.*need criu 3.18 or newer/);
    } finally {
      service.stop();
    }
  });

  it('names a CRIU that is not installed', async () => {
    const service = await Instance.start('--criu', '/usr/sbin/no-such-criu');
    try {
      const sentence = await refusalOf(ReqType.CPUINFO_DUMP, {}, service.address, service.unit);
      assert.match(sentence.source, /install criu/);
    } finally {
      service.stop();
    }
  });

  it('names a process that only root could restore, which runs on', async () => {
    const target = startCounting('alice', ['--bounding-set=-sys_boot'], binary('counter'));
    const sentence = await refusalOf(ReqType.DUMP, { pid: target.pid });
    assert.match(sentence.source, /CAP_SYS_BOOT.* only root could restore/);
    await target.assertCountsOn();
  });

  it('names a kernel that does not track memory, and the process runs on', async function () {
    if (tracksMemory()) attackIsImpossible(this, 'this kernel tracks memory');
    const target = startCounting('alice', ['--no-new-privs'], binary('counter'));
    for (const [type, opts] of [
      [ReqType.PRE_DUMP, {}],
      [ReqType.DUMP, { track_mem: true, leave_running: true }],
    ] as const) {
      const sentence = await refusalOf(type, { pid: target.pid, ...opts });
      assert.match(sentence.source, /CONFIG_MEM_SOFT_DIRTY/);
      await target.assertCountsOn();
    }
  });

  it('names Yama if it forbids users to trace, and only then', async function () {
    const knob = '/proc/sys/kernel/yama/ptrace_scope';
    if (!existsSync(knob)) cannotShowHere(this, 'this kernel has no Yama');
    const target = startCounting('alice', ['--no-new-privs'], binary('counter'));
    const images = directoryOf('alice');
    const ask = async (type: ReqType, opts: Partial<CriuOpts>): Promise<boolean> => {
      const alice = new Client('alice');
      await alice.do('open', 10, 0, images);
      const reply = await alice.ask({ type, opts: { images_dir_fd: 10, ...opts } }, ourAddress);
      await alice.end();
      return reply !== 'closed' && (reply.success ?? false);
    };
    try {
      for (const scope of [1, 2]) {
        writeFileSync(knob, String(scope));
        const sentence = await refusalOf(ReqType.DUMP, { pid: target.pid });
        assert.match(
          sentence.source,
          new RegExp(`yama.ptrace.scope is ${scope}.*an administrator can set it to 0`),
        );
        const foretold =
          scope === 1 ? /each dump and pre-dump of yours is refused/ : /, pre-dump and restore of yours/;
        // CRIU's own check may fail for the same reason.
        assert.match(criuctlAs('alice', 'check').stderr, foretold);
        await target.assertCountsOn();
      }
      assert.match((await refusalOf(ReqType.RESTORE, {})).source, /ptrace.scope is 2.*set it to 1/);
      writeFileSync(knob, '0');
      assert.ok(await ask(ReqType.DUMP, { pid: target.pid }));
      await target.assertGone();
      // A process that an engine restores descends from the engine, which is enough for scope 1.
      writeFileSync(knob, '1');
      assert.ok(await ask(ReqType.RESTORE, {}));
      await target.assertCountsOn();
    } finally {
      writeFileSync(knob, '0');
    }
  });
});

describe('a CRIU that is older than it should be', () => {
  const installed = run('criu', '--version');
  const before421 = /^Version: (\d+\.\d+(?:\.\d+)?)/m.exec(installed)![1]!;
  const flaw = new RegExp(
    `CRIU ${before421.replaceAll('.', '\\.')} has CVE-2026-18107, which 4\\.2\\.1 fixes`,
  );

  function needsFlaw(context: Mocha.Context): void {
    const version = parseCriuVersion(installed);
    if (!version || !isBefore(version, [4, 2, 1]))
      cannotShowHere(context, `CRIU ${before421} is new enough: no limit of it is known`);
  }

  it('is told by CHECK, to root and to alice, in the reply of a success and by criuctl', async function () {
    needsFlaw(this);
    for (const user of ['root', 'alice'] as const) {
      const client = new Client(user);
      await client.do('open', 10, 0, directoryOf(user));
      const reply = await client.ask({ type: ReqType.CHECK, opts: { images_dir_fd: 10 } }, ourAddress);
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      assert.match(reply.cr_errmsg ?? '', new RegExp(`^warning: ${flaw.source}`));
      await client.end();
      assert.match(must(criuctlAs(user, 'check')).stderr, new RegExp(`^criuctl: warning: ${flaw.source}`));
    }
  });

  it('is told by the service at its start: in its status, and once in a boot in the journal', async function () {
    needsFlaw(this);
    run('systemctl', 'stop', 'criu.service');
    rmSync('/run/criu-service/told-limits', { force: true });
    const since = cursor();
    for (let start = 0; start < 3; start += 1) {
      run('systemctl', 'restart', 'criu.service');
      await eventually('the status says so', () =>
        flaw.test(run('systemctl', 'show', '--property=StatusText', 'criu.service')),
      );
    }
    await assertAllIsTold();
    const told = (await records(1, `--after-cursor=${since}`, 'PRIORITY=4')).filter(({ CRIU_WARNING = '' }) =>
      flaw.test(CRIU_WARNING),
    );
    assert.equal(told.length, 1);
  });

  it('is told to a user who sets an option that only a newer CRIU knows, and root’s CRIU ignores it', async () => {
    const target = startCounting('alice', unshackled(), binary('counter'));
    const opts = { pid: target.pid, leave_running: true, image_io_mode: ImageIoMode.IMAGE_IO_DIRECT };
    const sentence = await refusalOf(ReqType.DUMP, opts);
    assert.match(
      sentence.source,
      /DUMP refused. the CRIU installed here .* does not know image_io_mode. 4.3 does/,
    );
    const root = new Client('root');
    await root.do('open', 10, 0, directoryOf('root'));
    const own = startCounting('root', [], binary('counter'));
    const reply = await root.ask(
      { type: ReqType.DUMP, opts: { ...opts, images_dir_fd: 10, pid: own.pid } },
      ourAddress,
    );
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    await root.end();
    await target.assertCountsOn();
  });
});
