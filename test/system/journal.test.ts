/** The journal as an operator reads it: records, their explanations, and their protection against forgery and floods. */
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { ReqType } from '../../src/protocol/messages.ts';
import { messageIds } from '../../src/records/record-kinds.ts';
import { Attacker, connection, hex } from '../hostile/support/attacker.ts';
import { it } from '../hostile/support/guarantee.ts';
import { AlicesImages } from '../hostile/support/images.ts';
import { directoryOf, targetOf, uids } from '../hostile/support/people.ts';
import { eventually, freshDirectory, run } from './support/bench.ts';
import { ask, ourAddress, withOpen } from './support/client.ts';
import { Instance } from './support/instance.ts';
import { assertAllIsTold, cursor, type Entry, journal, journalOf, records } from './support/journal.ts';
import { cgroupOf } from './support/proc.ts';
import { Target } from './support/targets.ts';
import { mainPid, show } from './support/unit.ts';

/** The records of criu.service since this cursor. */
function since(before: string, ...matches: string[]): Entry[] {
  return journal(`--after-cursor=${before}`, ...matches);
}

describe('the record of a request', () => {
  it('names the images directory as the kernel does, and the engine', async () => {
    const target = Target.start();
    const directory = freshDirectory();
    await withOpen([directory], async (fd) => {
      const opts = { images_dir_fd: fd, pid: target.pid, leave_running: true };
      assert.equal((await ask({ type: ReqType.DUMP, opts })).success, true);
    });
    const [done] = await records(1, `CRIU_TARGET_PID=${target.pid}`, `MESSAGE_ID=${messageIds.done}`);
    assert.equal(done?.CRIU_IMAGES_DIR, directory);
    assert.ok(Number(done?.CRIU_ENGINE_PID) > 1);
  });

  it('warns if root names a directory that others can write, and root is served', async () => {
    const target = Target.start();
    const [roots, hers] = [freshDirectory(), directoryOf('alice')];
    const warningsOf = (directory: string): (string | undefined)[] =>
      journal(`CRIU_IMAGES_DIR=${directory}`, `MESSAGE_ID=${messageIds.accepted}`).map(
        ({ CRIU_WARNING, PRIORITY }) => `${PRIORITY} ${CRIU_WARNING}`,
      );
    await withOpen([roots, hers], async (safe, shared) => {
      const dump = async (images: number, work?: number): Promise<void> => {
        const opts = { images_dir_fd: images, pid: target.pid, leave_running: true };
        const withWork = work === undefined ? opts : { ...opts, work_dir_fd: work };
        assert.equal((await ask({ type: ReqType.DUMP, opts: withWork })).success, true);
      };
      await dump(safe!);
      await dump(shared!);
      // The process still runs, so that the restore fails.
      assert.equal((await ask({ type: ReqType.RESTORE, opts: { images_dir_fd: shared! } })).success, false);
      await dump(safe!, shared!);
    });
    await assertAllIsTold();
    const said = 'belongs to uid 1500: whoever can write';
    assert.deepEqual(warningsOf(hers), [
      `4 its images directory ${said} there decides where root's CRIU writes, and may read it`,
      `4 its images directory ${said} images decides what root restores`,
    ]);
    assert.deepEqual(warningsOf(roots), [
      '6 undefined',
      `4 its work directory ${said} there decides where root's CRIU writes, and may read it`,
    ]);
    await target.assertCountsOn();
  });

  it('contains the errors in CRIU’s log after a failure', async () => {
    const directory = freshDirectory();
    await withOpen([directory], async (fd) => {
      const opts = { images_dir_fd: fd, log_file: 'restore.log', log_level: 4 };
      assert.equal((await ask({ type: ReqType.RESTORE, opts })).success, false);
    });
    await eventually('the record is there', () => {
      const [failed] = journal(`CRIU_IMAGES_DIR=${directory}`, `MESSAGE_ID=${messageIds.failed}`);
      return /Error \(criu\//.test(failed?.CRIU_ENGINE_LOG ?? '');
    });
  });

  it('names the unit of a process that a user without root restored', async () => {
    const images = await AlicesImages.make();
    const reply = await images.restore();
    assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
    const [restored] = await records(1, `CRIU_RESTORED_PID=${images.pid}`);
    assert.equal(restored?.CRIU_CGROUP, cgroupOf(images.pid));
    // The unit in which alice asked.
    assert.equal(dirname(restored!.CRIU_CGROUP!), cgroupOf(process.pid));
    assert.equal(restored?.CRIU_SCOPE, undefined);
    assert.equal(restored?.CRIU_CLOCKS, 'dump');
    await images.end();
  });

  it('is explained, with advice, by journalctl --catalog', async () => {
    const before = cursor();
    await assertAllIsTold();
    const text = run(
      'journalctl',
      `--after-cursor=${before}`,
      '--unit=criu.service',
      '--catalog',
      '--no-pager',
    );
    assert.match(text, /Subject: A request to checkpoint or restore was refused/);
    assert.match(text, /is no request type/);
    const known = run('journalctl', '--list-catalog', '--no-pager');
    for (const id of Object.values(messageIds)) assert.match(known, new RegExp(`^${id} criu-service:`, 'm'));
  });
});

describe('text of alice’s in the journal', () => {
  it('never becomes a record, a field or a terminal sequence of her own', async () => {
    const before = cursor();
    const evil = 'x\nMESSAGE=forged\nCRIU_RESULT=done\n\x1b[2Jend';
    const alice = new Attacker('alice');
    await alice.do('open', 10, 0, directoryOf('alice'));
    const opts = {
      images_dir_fd: 10,
      root: evil,
      pid: targetOf('alice').pid,
      config_file: evil,
      log_file: evil,
    };
    const reply = await alice.ask({ type: ReqType.DUMP, opts }, ourAddress);
    assert.ok(reply !== 'closed' && !reply.success);
    await assertAllIsTold();
    for (const entry of since(before)) assert.notEqual(entry.MESSAGE, 'forged');
    const told = since(before, `CRIU_CALLER_UID=${uids.alice}`);
    assert.notEqual(told.length, 0);
    // Fields with an underscore are journald's own; its _SELINUX_CONTEXT ends in a newline under AppArmor.
    const ours = told.flatMap(Object.entries<unknown>).filter(([name]) => !name.startsWith('_'));
    for (const [, value] of ours) assert.doesNotMatch(String(value), /\p{Cc}/u);
    assert.deepEqual(since(before, 'CRIU_RESULT=done', `CRIU_CALLER_UID=${uids.alice}`), []);
  });

  it('is limited in number of records, and hides neither her own dumps nor bob’s records', async () => {
    // A service of its own, because alice uses her records up.
    const service = await Instance.start();
    try {
      const alice = new Attacker('alice');
      // At once: each second allows for five more records.
      const noRequest = [
        `connect ${connection} ${service.address}`,
        `send ${connection} ${hex(Buffer.from('no request'))}`,
        `receive ${connection}`,
        `close ${connection}`,
      ];
      await alice.rush(...Array.from({ length: 400 }, () => noRequest).flat());
      const bob = new Attacker('bob');
      await bob.ask(Buffer.from('no request'), service.address);
      const target = targetOf('alice');
      await alice.do('open', 10, 0, directoryOf('alice'));
      const opts = { images_dir_fd: 10, pid: target.pid, leave_running: true };
      const reply = await alice.ask({ type: ReqType.DUMP, opts }, service.address);
      assert.ok(reply !== 'closed' && reply.success);
      service.stop();
      const of = (uid: number, id: string) =>
        journalOf(service.unit, `CRIU_CALLER_UID=${uid}`, `MESSAGE_ID=${id}`);
      const refused = of(uids.alice, messageIds.refused).length;
      assert.ok(refused >= 200 && refused < 400, `${refused} records`);
      assert.equal(of(uids.bob, messageIds.refused).length, 1);
      assert.equal(of(uids.alice, messageIds.done).length, 1);
      const dropped = of(uids.alice, messageIds.dropped).map(({ CRIU_DROPPED }) => Number(CRIU_DROPPED));
      assert.equal(
        dropped.reduce((sum, each) => sum + each, refused),
        400,
      );
    } finally {
      if (mainPid(`${service.unit}.service`) > 0) service.stop();
    }
  });
});

describe('a directory that CRIU cannot write', () => {
  it('costs a single failed reply if it is full; the process runs on, and the record says why', async () => {
    const directory = freshDirectory();
    run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', directory);
    await failing(directory, /No space left/).finally(() => run('umount', directory));
  });

  it('costs a single failed reply if it is read-only, and the process runs on', async () => {
    const directory = freshDirectory();
    run('mount', '-t', 'tmpfs', '-o', 'ro', 'none', directory);
    await failing(
      directory,
      new RegExp(`The log criu\\.log cannot be written in ${directory}: EROFS`),
    ).finally(() => run('umount', directory));
  });

  async function failing(directory: string, said: RegExp): Promise<void> {
    const target = Target.start();
    const fd = openSync(directory, 'r');
    try {
      const reply = await ask({ type: ReqType.DUMP, opts: { images_dir_fd: fd, pid: target.pid } });
      assert.deepEqual([reply.type, reply.success], [ReqType.DUMP, false]);
    } finally {
      closeSync(fd);
    }
    await target.assertCountsOn();
    const [failed, ...more] = await records(
      1,
      `CRIU_TARGET_PID=${target.pid}`,
      `MESSAGE_ID=${messageIds.failed}`,
    );
    assert.deepEqual(more, []);
    const { CRIU_REASON, CRIU_ENGINE_LOG, CRIU_ENGINE_STDERR } = failed!;
    assert.match([CRIU_REASON, CRIU_ENGINE_LOG, CRIU_ENGINE_STDERR].join('\n'), said);
  }
});

describe('a journal that is down', () => {
  const dump = async (): Promise<Target> => {
    const target = Target.start();
    await withOpen([freshDirectory()], async (fd) => {
      const opts = { images_dir_fd: fd, pid: target.pid, leave_running: true };
      assert.equal((await ask({ type: ReqType.DUMP, opts })).success, true);
    });
    await target.assertCountsOn();
    return target;
  };

  /** Records are kept until the journal is back. */
  const assertToldLater = async (target: Target): Promise<void> => {
    await eventually('its records are there', () => {
      const told = journal(`CRIU_TARGET_PID=${target.pid}`).map(({ MESSAGE_ID }) => MESSAGE_ID);
      return told.join() === [messageIds.accepted, messageIds.done].join();
    });
  };

  it('because it is stuck delays no request, and gets the records when it goes on', async () => {
    const journald = mainPid('systemd-journald.service');
    process.kill(journald, 'SIGSTOP');
    let target: Target;
    try {
      for (let i = 0; i < 50; i += 1) assert.equal((await ask({ type: ReqType.VERSION })).success, true);
      target = await dump();
    } finally {
      process.kill(journald, 'SIGCONT');
    }
    await assertToldLater(target);
  });

  it('because it was stopped with its socket delays no request, and gets the records when it is back', async () => {
    const { TriggeredBy } = show('systemd-journald.service', 'TriggeredBy');
    const sockets = TriggeredBy!.split(' ');
    const states = () => sockets.map((socket) => `${socket} ${show(socket, 'ActiveState').ActiveState}`);
    const before = states();
    run('systemctl', 'stop', ...sockets, 'systemd-journald.service');
    let target: Target;
    try {
      target = await dump();
    } finally {
      // Starts its sockets, too, in one transaction: starting a socket by itself would fail if a write to another socket had
      // started the service meanwhile.
      run('systemctl', 'start', 'systemd-journald.service');
    }
    assert.deepEqual(states(), before);
    await assertToldLater(target);
  });
});
