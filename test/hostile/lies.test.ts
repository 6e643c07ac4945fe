/**
 * Engines that lie: a bug in CRIU lets alice speak in the engine's place, so that the service believes no number and no text of
 * an engine.
 */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type CriuOpts, type CriuResp, ReqType } from '../../src/protocol/messages.ts';
import { eventually } from '../system/support/bench.ts';
import { ourAddress } from '../system/support/client.ts';
import { type Entry, journalOf } from '../system/support/journal.ts';
import { cgroupOf, endProcess, isAlive, processesNamed, statusLine } from '../system/support/proc.ts';
import { mainPid, show } from '../system/support/unit.ts';
import { Attacker } from './support/attacker.ts';
import { assertRefused, assertServed, it } from './support/guarantee.ts';
import { LyingEngine, type Saying } from './support/lying-engine.ts';
import { directoryOf, targetOf, uids } from './support/people.ts';

async function askAsAlice(
  address: string,
  type: ReqType,
  opts: Partial<CriuOpts>,
): Promise<{ reply: CriuResp | 'closed'; caller: number }> {
  const alice = new Attacker('alice');
  await alice.do('open', 10, 0, directoryOf('alice'));
  const reply = await alice.ask({ type, opts: { images_dir_fd: 10, ...opts } }, address);
  await alice.end();
  return { reply, caller: alice.pid };
}

const notify = (script: string, pid: number): Saying => ({
  send: { type: ReqType.NOTIFY, success: true, notify: { script, pid } },
});

const restored = (success: boolean, pid: number): Saying => ({
  send: { type: ReqType.RESTORE, success, restore: { pid } },
});

/** True while an engine that has become alice exists. The processes that it restores have the same name. */
const isLiar = (): boolean =>
  processesNamed('liar').some(
    (pid) =>
      isAlive(pid) &&
      statusLine(pid, 'Uid')?.startsWith(`${uids.alice}\t`) &&
      BigInt(`0x${statusLine(pid, 'CapPrm') ?? '0'}`) !== 0n,
  );

// The bite: a service that ends the process which an engine names, instead of the engine's cgroup, ends bob's process here.
describe('an engine that claims to have restored another user’s process', () => {
  let engine: LyingEngine;
  before(async () => {
    engine = await LyingEngine.start();
  });
  after(() => engine.service.stop());

  /** After each of these lies the service ends the processes in the engine's cgroup, or examines them. */
  const lies: Readonly<Record<string, (pid: number) => readonly Saying[]>> = {
    'finished before it was examined': (pid) => ['receive', restored(true, pid), 'receive'],
    'lost before it was examined': (pid) => ['receive', notify('post-restore', pid), 'receive', 'die'],
    failed: (pid) => ['receive', notify('pre-restore', pid), 'receive', restored(false, pid)],
    'dead during the examination': (pid) => ['receive', notify('pre-resume', pid), 'receive', 'die'],
  };
  for (const [fate, lie] of Object.entries(lies)) {
    it(`gets no process of others signalled (${fate})`, async () => {
      const target = targetOf('bob');
      for (const named of [target.pid, 1, -1]) {
        engine.says(...lie(named));
        const { reply } = await askAsAlice(engine.service.address, ReqType.RESTORE, {});
        assert.ok(reply !== 'closed' && !reply.success, JSON.stringify(reply));
        await target.assertCountsOn();
        // pid 1 sleeps, runs, or waits for a disk; it is not stopped.
        assert.match(statusLine(1, 'State') ?? '', /^[SRD]/);
      }
    });
  }
});

// The bite: a service that takes an invalid message for the engine's end lets the tree run beside the engine.
describe('an engine that stays after its last message', () => {
  let engine: LyingEngine;
  before(async () => {
    engine = await LyingEngine.start();
  });
  after(() => engine.service.stop());

  for (const [how, more, outcome] of [
    [
      'with an invalid message',
      [{ send: 'no message' }],
      /was to run beside its engine, which is still there/,
    ],
    ['with its last message again', [restored(true, 1)], undefined],
  ] as const) {
    it(`has no tree of its making run beside it (${how})`, async () => {
      const directory = directoryOf('alice', 0o777);
      const [trace, said, never] = ['trace', 'said', 'never'].map((name) => join(directory, name));
      engine.says(
        'receive',
        { hold: trace! },
        notify('pre-resume', 1),
        'receive',
        'let-go',
        restored(true, 1),
        ...more,
        { make: said! },
        { wait: never! },
      );
      const asked = askAsAlice(engine.service.address, ReqType.RESTORE, {});
      await eventually('the engine has said all', () => existsSync(said!));
      // The service ends an engine that does not leave.
      await eventually('the engine has gone, or its tree runs', () => existsSync(trace!) || !isLiar());
      assert.ok(!existsSync(trace!) || !isLiar(), 'it runs beside its engine');
      const { reply } = await asked;
      if (outcome) assertRefused(reply, outcome);
      else assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      if (outcome) assert.equal(existsSync(trace!), false);
      else await eventually('it runs when the engine has gone', () => existsSync(trace!));
    });
  }
});

// The bite: the leftover process lives under the service's own limits instead of alice's, for as long as it likes.
describe('an engine that forks after its tree was verified', () => {
  it('leaves only that tree', async () => {
    const engine = await LyingEngine.start();
    try {
      const trace = join(directoryOf('alice', 0o777), 'trace');
      const [before, after] = [notify('pre-resume', 1), restored(true, 1)];
      engine.says('receive', { hold: trace }, before, 'receive', 'fork', 'let-go', after);
      const { reply } = await askAsAlice(engine.service.address, ReqType.RESTORE, {});
      assert.ok(reply !== 'closed' && reply.success, JSON.stringify(reply));
      await eventually('the tree runs', () => existsSync(trace));
      const liars = (): number[] => processesNamed('liar').filter(isAlive);
      await eventually('its other process has ended', () =>
        liars().every((pid) => !cgroupOf(pid).includes('/engine-')),
      );
      for (const pid of liars()) endProcess(pid);
    } finally {
      engine.service.stop();
    }
  });
});

// The bite: a service that takes the descriptor and closes it on its event loop answers bob only after the socket was read.
describe('an engine that sends a descriptor whose close lasts as long as alice likes', () => {
  let engine: LyingEngine;
  let reader: Server;
  const held: Socket[] = [];
  before(async () => {
    engine = await LyingEngine.start();
    reader = createServer({ pauseOnConnect: true }, (socket) => held.push(socket.on('error', () => {})));
    await new Promise<void>((resolve) => reader.listen(0, '127.0.0.1', resolve));
  });
  after(() => {
    for (const socket of held) socket.destroy();
    reader.close();
    engine.service.stop();
  });

  const opts = { notify_scripts: true, orphan_pts_master: true };
  for (const [how, script, asked] of [
    ['with another message, while a terminal is due', 'post-restore', opts],
    ['in the place of the terminal that is due', 'orphan-pts-master', opts],
    ['without a request for a terminal', 'orphan-pts-master', { notify_scripts: true }],
  ] as const) {
    it(`is treated as lost, and delays alice alone (${how})`, async () => {
      const roots = targetOf('root');
      const lingersAt = (reader.address() as AddressInfo).port;
      const send = { type: ReqType.NOTIFY, success: true, notify: { script } };
      engine.says('receive', { send, lingersAt }, 'receive', 'receive');
      const { reply } = await askAsAlice(engine.service.address, ReqType.RESTORE, asked);
      // Since Linux 6.16 the kernel may refuse the descriptor at its sender, which then exits.
      assertRefused(
        reply,
        /^The engine sent a descriptor that is not due$|lost its engine before it was verified/,
      );
      assert.ok(held.length > 0, 'there is nothing that lingers');
      const bob = new Attacker('bob');
      await bob.do('open', 10, 0, '/');
      const request = { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: roots.pid } };
      assertRefused(await bob.ask(request, engine.service.address), /has the uid 0/);
      for (const socket of held.splice(0)) socket.destroy();
    });
  }

  const reply = { type: ReqType.CPUINFO_DUMP, success: true };
  for (const [how, send, leaves] of [
    ['with an invalid message', 'no message', false],
    ['with its reply, after alice left', reply, true],
  ] as const) {
    it(`delays alice alone (${how}, while the service is busy)`, async () => {
      const roots = targetOf('root');
      const lingersAt = (reader.address() as AddressInfo).port;
      const directory = directoryOf('alice', 0o777);
      const [asked, go, sent] = ['asked', 'go', 'sent'].map((name) => join(directory, name));
      const order = [{ make: asked! }, { wait: go! }, { send, lingersAt }, { make: sent! }] as const;
      engine.says('receive', ...order, 'receive');
      const alice = new Attacker('alice');
      await alice.do('open', 10, 0, directoryOf('alice'));
      await alice.connect(engine.service.address);
      await alice.send({ type: ReqType.CPUINFO_DUMP, opts: { images_dir_fd: 10 } });
      await eventually('the engine has the request', () => existsSync(asked!));
      // If it may send a descriptor, the engine closes its own copy before the service reads the message: closing the last copy
      // blocks.
      const service = mainPid(engine.service.unit);
      process.kill(service, 'SIGSTOP');
      try {
        if (leaves) await alice.end();
        writeFileSync(go!, '');
        await eventually('the engine has sent it, or ended', () => existsSync(sent!) || !isLiar());
      } finally {
        process.kill(service, 'SIGCONT');
      }
      const bob = new Attacker('bob');
      await bob.do('open', 10, 0, '/');
      const request = { type: ReqType.DUMP, opts: { images_dir_fd: 10, pid: roots.pid } };
      const answer = bob.ask(request, engine.service.address);
      let answered = false;
      answer.then(
        () => {
          answered = true;
        },
        () => {},
      );
      await eventually('bob is answered', () => answered).finally(() => {
        // Frees a process that waits in close(2).
        for (const socket of held.splice(0)) socket.destroy();
      });
      assertRefused(await answer, /has the uid 0/);
    });
  }
});

/** Lines, fields of the journal, and control sequences of terminals. */
const forged = 'forged\nCRIU_FORGED=1\nMESSAGE=forged\r\u001b[2J\u0007\u0085\u009b';

async function assertPlain(unit: string, caller: number): Promise<void> {
  let records: readonly Entry[] = [];
  // The service writes the record after the reply.
  await eventually('the record of its end is there', () => {
    records = journalOf(unit, `CRIU_CALLER_PID=${caller}`);
    return records.some(({ CRIU_RESULT }) => CRIU_RESULT !== undefined);
  });
  for (const record of records) {
    // journalctl prints a value that is not text as a list of bytes.
    assert.equal(typeof record.MESSAGE, 'string', JSON.stringify(record));
    assert.doesNotMatch(record.MESSAGE!, /\p{Cc}/u);
    assert.notEqual(record.CRIU_RESULT, 'done');
    assert.equal(record.CRIU_FORGED, undefined);
  }
  assert.doesNotMatch(show(unit, 'StatusText').StatusText!, /forged/);
}

// The bite: without sanitize() in src/systemd/log.ts the text is written raw. journald gets each field with its length.
describe('text of alice’s that looks like records of the journal', () => {
  it('stays on a single line of its record (the name of an images directory)', async () => {
    const opts = { images_dir_fd: -1, images_dir: `/${forged}` };
    const { reply, caller } = await askAsAlice(ourAddress, ReqType.CPUINFO_DUMP, opts);
    assert.ok(reply !== 'closed' && !reply.success, JSON.stringify(reply));
    await assertPlain('criu.service', caller);
  });

  it('stays on a single line of its record (an engine’s last words, its error message, and the script it names)', async () => {
    const engine = await LyingEngine.start();
    const { CPUINFO_DUMP: type } = ReqType;
    try {
      for (const said of [
        [{ stderr: `Error: ${forged}\n` }, 'die'],
        [{ send: { type, success: false, cr_errno: 1, cr_errmsg: forged } }],
        [notify(forged, 1), { stderr: `Error: ${forged}\n` }, 'die'],
      ] as const) {
        engine.says('receive', ...said);
        const { caller } = await askAsAlice(engine.service.address, type, {});
        await assertPlain(engine.service.unit, caller);
      }
    } finally {
      engine.service.stop();
    }
    await assertServed('bob');
  });
});
