import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { auditSessionOf, parseAuditSession, ticksNow } from '../../../src/proc/audit-session.ts';
import { lookFor, parseProcesses, type SeenProcess } from '../../../src/proc/holders.ts';
import { statOf } from '../../../src/proc/stat.ts';
import { readInTurns } from '../../../src/proc/turns.ts';

const parse = (text: string): Promise<SeenProcess[]> => readInTurns(parseProcesses(text));

describe('parseProcesses', () => {
  it('reads a thread and its process', async () => {
    const [process] = await parse('11 1500 77 5 found 12 S 9 1 2 3 4 5 6 7 8 a b c 10000000000\t/a\tb c\n');
    assert.deepEqual(process, {
      pid: 11,
      uid: 1500,
      start: 77,
      session: 5,
      cgroup: '/a\tb c',
      seen: {
        tid: 12,
        state: 'S',
        tracer: 9,
        uids: [1, 2, 3, 4],
        gids: [5, 6, 7, 8],
        inheritable: 10n,
        permitted: 11n,
        effective: 12n,
        ambient: 1n << 40n,
      },
    });
  });

  it('reads processes without a thread that were unsettled or cannot be read', async () => {
    assert.deepEqual(await parse('11 1500 77 4294967295 unsettled\t\n12 0 - - 21\t/x\n'), [
      { pid: 11, uid: 1500, start: 77, session: undefined, cgroup: '', seen: 'unsettled' },
      { pid: 12, uid: 0, start: undefined, session: undefined, cgroup: '/x', seen: { errno: 21 } },
    ]);
  });

  it('throws for a malformed line', async () => {
    for (const text of [
      '11 1500 77 5 found 12 S\t/\n',
      '11 1500 77\t/\n',
      'x 1 2 3 unsettled\t/\n',
      '11 1500 77 5 unsettled\n',
    ])
      await assert.rejects(parse(text), /that was seen/);
  });

  it('lookFor: finds this process', async () => {
    const { found, unknown } = await lookFor({ pids: [process.pid], whose: [{ uid: process.getuid!() }] });
    const start = Number(statOf(process.pid)?.start);
    assert.deepEqual(
      [...found, ...unknown].map(({ pid }) => pid),
      [process.pid],
    );
    for (const each of found) assert.equal(each.start, start);
  });
});

describe('facts that identify the processes of an engine', () => {
  it('parseAuditSession: reads a session, unless it is this service’s own or unset', () => {
    assert.equal(parseAuditSession('7'), 7);
    for (const none of ['4294967295', '', 'x']) assert.equal(parseAuditSession(none), undefined);
    assert.equal(auditSessionOf(process.pid), undefined);
    assert.equal(auditSessionOf(2 ** 30), undefined);
  });

  it('ticksNow: is no later than the start of a process that starts afterwards', async () => {
    const before = ticksNow();
    const child = spawn('sleep', ['60']);
    try {
      const start = Number(statOf(child.pid!)?.start);
      assert.ok(start >= before && start <= ticksNow() + 2, `${before} ${start} ${ticksNow()}`);
    } finally {
      child.kill('SIGKILL');
    }
  });
});
