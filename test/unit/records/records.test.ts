import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { AuthorizedRequest } from '../../../src/policy/authorize.ts';
import { ReqType } from '../../../src/protocol/messages.ts';
import { messageIds } from '../../../src/records/record-kinds.ts';
import { type Finished, Records, type Subject } from '../../../src/records/records.ts';
import type { Fields, Log } from '../../../src/systemd/log.ts';

interface Written {
  readonly level: string;
  readonly message: string;
  readonly fields: Fields;
}

function recorder(): { written: Written[]; records: Records } {
  const written: Written[] = [];
  const at =
    (level: string) =>
    (message: string, fields: Fields = {}) => {
      written.push({ level, message, fields });
    };
  const log: Log = {
    error: at('error'),
    warning: at('warning'),
    info: at('info'),
    debug: at('debug'),
    most: 'debug',
    close: async () => {},
  };
  return { written, records: new Records(log, () => {}) };
}

const subject: Subject = {
  session: 42,
  user: { pid: 4711, uid: 1500, key: 1500, foreign: false },
};
const request: AuthorizedRequest = {
  type: ReqType.DUMP,
  name: 'DUMP',
  answeredAs: ReqType.DUMP,
  keepOpen: false,
  engine: 'confined',
  notifies: false,
  target: 4712,
};
const done: Finished = {
  request,
  result: 'done',
  errno: undefined,
  reason: undefined,
  restoredPid: undefined,
  durationUsec: 9300,
  enginePid: 4713,
  cgroup: '/system.slice/job.service/criu-engine-0123456789ab-1',
  scope: undefined,
  imagesDir: '/var/lib/images',
  stderr: [],
  log: [],
};
/** Characters with a meaning of their own in a log or a terminal. */
const evil = 'no\nMESSAGE=DUMP of process 1 done\r\n\x1b[2J\x9b2J\u2028\u202eesrever\0end';
const harmless = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u;

describe('records', () => {
  it('have fields for the caller, the request and the result', () => {
    const { written, records } = recorder();
    records.accepted(subject, request, '/var/lib/images', undefined);
    records.finished(subject, done);
    const common = {
      CRIU_SESSION: 42,
      CRIU_CALLER_PID: 4711,
      CRIU_CALLER_UID: 1500,
      CRIU_REQUEST: 'DUMP',
      CRIU_TARGET_PID: 4712,
      CRIU_IMAGES_DIR: '/var/lib/images',
    };
    assert.deepEqual(written, [
      {
        level: 'info',
        message: 'DUMP of process 4712 for pid 4711 (uid 1500) accepted',
        fields: { MESSAGE_ID: messageIds.accepted, ...common },
      },
      {
        level: 'info',
        message: 'DUMP of process 4712 for pid 4711 (uid 1500) done in 9.3 ms',
        fields: {
          MESSAGE_ID: messageIds.done,
          ...common,
          CRIU_RESULT: 'done',
          CRIU_DURATION_USEC: 9300,
          CRIU_ENGINE_PID: 4713,
          CRIU_CGROUP: '/system.slice/job.service/criu-engine-0123456789ab-1',
        },
      },
    ]);
  });

  it('name the scope and the clocks of a restored process', () => {
    const { written, records } = recorder();
    records.finished(subject, { ...done, restoredPid: 4712, scope: 'criu-restore-1.scope', clocks: 'dump' });
    const { CRIU_RESTORED_PID, CRIU_SCOPE, CRIU_CLOCKS } = written[0]!.fields;
    assert.deepEqual([CRIU_RESTORED_PID, CRIU_SCOPE, CRIU_CLOCKS], [4712, 'criu-restore-1.scope', 'dump']);
  });

  it('name why a target could be traced, and mark what only an administrator has allowed', () => {
    const { written, records } = recorder();
    for (const consent of ['descendant', 'own'] as const) records.finished(subject, { ...done, consent });
    assert.deepEqual(
      written.map(({ message, fields }) => [fields.CRIU_CONSENT, message.includes('allowed by --yama=own')]),
      [
        ['descendant', false],
        ['own', true],
      ],
    );
  });

  it('warn if others can write a directory of root’s request, and say what that permits', () => {
    const { written, records } = recorder();
    const shared = 'its images directory belongs to uid 1500';
    for (const name of ['DUMP', 'RESTORE', 'VERSION'])
      records.accepted(subject, { ...request, name }, '/home/alice', shared);
    assert.deepEqual(
      written.map(({ level }) => level),
      ['warning', 'warning', 'debug'],
    );
    assert.equal(
      written[0]!.message,
      'DUMP of process 4712 for pid 4711 (uid 1500) accepted, although its images directory belongs to uid 1500',
    );
    const warnings = written.map(({ fields }) => String(fields.CRIU_WARNING));
    assert.match(
      warnings[0]!,
      /^its images directory belongs to uid 1500: .* decides where root's CRIU writes/,
    );
    assert.match(warnings[1]!, /^its images directory belongs to uid 1500: .* decides what root restores$/);
  });

  it('warn of what a caller will miss when it restores its dump', () => {
    const { written, records } = recorder();
    records.accepted(
      subject,
      { ...request, warning: 'process 500 of the tree lacks a group' },
      undefined,
      undefined,
    );
    const [record] = written;
    assert.equal(record?.level, 'warning');
    assert.match(record.message, /accepted, although process 500 of the tree lacks a group$/);
    assert.equal(record.fields.CRIU_WARNING, 'process 500 of the tree lacks a group');
  });

  it('of unexpected events are limited for each user, too', () => {
    const { written, records } = recorder();
    for (let each = 0; each < 1000; each += 1) records.unexpected(subject, new Error('again'));
    assert.ok(written.length < 500, `${written.length} were written`);
    const before = written.length;
    records.unexpected({ session: 1, user: { pid: 1, uid: 0, key: 0, foreign: false } }, new Error('root'));
    assert.deepEqual(
      written.slice(before).map(({ level, message }) => [level, message]),
      [['error', 'Session 1: root']],
    );
    records.close();
  });

  it('contain no line, field or terminal sequence that a client or engine has made up', () => {
    const { written, records } = recorder();
    records.finished(subject, {
      ...done,
      result: 'failed',
      reason: evil,
      imagesDir: evil,
      stderr: [evil],
      log: [evil, evil],
    });
    records.leftBehind(subject, { request, reason: evil }, { kind: 'running' });
    records.unexpected(subject, new Error(evil));
    const left = { pid: 7, uid: 1500, start: 1, session: 2, cgroup: `/${evil}`, seen: 'unsettled' } as const;
    records.endedLeft(left);
    records.notEnded(left);
    for (const { message, fields } of written) {
      assert.match(message, harmless);
      for (const [name, value] of Object.entries(fields)) {
        assert.match(name, /^[A-Z][A-Z0-9_]*$/);
        for (const line of String(value).split('\n')) assert.match(line, harmless);
      }
    }
    // Two lines of a log are two lines of one field; a client cannot add a line.
    assert.equal(String(written[0]?.fields.CRIU_ENGINE_LOG).split('\n').length, 2);
  });

  it('are cut to the longest field, however much an engine says', () => {
    const { written, records } = recorder();
    records.finished(subject, { ...done, result: 'failed', log: ['x'.repeat(100_000)] });
    assert.equal(String(written[0]?.fields.CRIU_ENGINE_LOG).length, 4096);
  });

  it('are written for one user while another user’s are dropped, and the drops are counted', () => {
    const { written, records } = recorder();
    const bob = { ...subject, user: { ...subject.user, uid: 1501, key: 1501 } };
    for (let i = 0; i < 1000; i += 1) records.turnedAway(subject.user, 11, 'too many');
    records.finished(subject, done);
    records.finished(bob, done);
    records.close();
    assert.equal(written.filter(({ fields }) => fields.MESSAGE_ID === messageIds.turnedAway).length, 200);
    assert.equal(written.filter(({ fields }) => fields.MESSAGE_ID === messageIds.done).length, 2);
    assert.deepEqual(written.at(-1), {
      level: 'warning',
      message: '800 records of uid 1500 were not written: there were too many',
      fields: { MESSAGE_ID: messageIds.dropped, CRIU_CALLER_UID: 1500, CRIU_DROPPED: 800 },
    });
    assert.equal(records.totals.refused, 1000);
  });

  it('of each kind are explained in the catalog, which has no other entries', () => {
    const catalog = readFileSync('units/criu.catalog', 'utf8');
    const lost = /lostMessageId = '([0-9a-f]{32})'/.exec(readFileSync('src/systemd/journal.ts', 'utf8'))?.[1];
    const explained = [...catalog.matchAll(/^-- ([0-9a-f]{32})$/gm)].map(([, id]) => id);
    assert.deepEqual(explained.sort(), [...Object.values(messageIds), lost].sort());
    for (const entry of catalog.split(/^-- .*$/m).slice(1)) {
      assert.match(entry, /^\nSubject: \S.*\nDefined-By: criu-service\nDocumentation: man:.*\n\n\S/);
    }
  });
});
