import assert from 'node:assert/strict';
import { bitOf } from '../../../src/policy/capabilities.ts';
import {
  type EngineOrigin,
  hasItAnyway,
  isKnown,
  type Place,
  type Proof,
  proofOf,
  whoseOf,
} from '../../../src/policy/escaped.ts';
import type { Found, Thread } from '../../../src/proc/holders.ts';

const CR = bitOf('CHECKPOINT_RESTORE');
const NET_RAW = bitOf('NET_RAW');
const AUDIT_CONTROL = bitOf('AUDIT_CONTROL');
const all = (1n << 41n) - 1n;
const four = (id: number): number[] => [id, id, id, id];

const engine: EngineOrigin = {
  uid: 1500,
  gid: 1600,
  permitted: 0n,
  ambient: 0n,
  session: 7,
  since: 1000,
};
/** As on a kernel without audit. */
const unmarked: EngineOrigin = { ...engine, session: undefined };

const thread: Thread = {
  tid: 42,
  state: 'S',
  tracer: 0,
  uids: four(1500),
  gids: four(1600),
  inheritable: CR,
  permitted: CR,
  effective: CR,
  ambient: CR,
};
const left = { pid: 42, uid: 1500, start: 1000, session: 7, cgroup: '/somewhere' };

interface Row {
  readonly what: string;
  readonly proof: Proof | undefined;
  readonly process?: Partial<Found>;
  readonly thread?: Partial<Thread>;
  readonly place?: Place;
  readonly engine?: EngineOrigin;
}

const rows: readonly Row[] = [
  // What an engine leaves.
  { what: 'a process in the audit session of the engine', proof: 'session' },
  { what: 'one in a scope of ours', place: 'of engines', proof: 'session' },
  {
    what: 'one that has given up all but the permitted set',
    thread: { effective: 0n, ambient: 0n },
    proof: 'session',
  },
  { what: 'one that is older than its engine can be', process: { start: 1 }, proof: 'session' },
  {
    what: 'one with an ambient capability of the caller’s',
    engine: { ...engine, permitted: NET_RAW, ambient: NET_RAW },
    thread: { permitted: CR | NET_RAW },
    proof: 'session',
  },
  {
    what: 'one whose engine’s gid was not kept',
    engine: { ...engine, gid: undefined },
    thread: { gids: four(9) },
    proof: 'session',
  },
  // What is somebody else's.
  { what: 'a process of a login with the capability (pam_cap)', process: { session: 8 }, proof: undefined },
  { what: 'one without an audit session', process: { session: undefined }, proof: undefined },
  {
    what: 'one of a program with file capabilities',
    process: { session: 8 },
    thread: { ambient: 0n, inheritable: 0n },
    proof: undefined,
  },
  { what: 'one that does not hold the capability', thread: { permitted: 0n, ambient: 0n }, proof: undefined },
  {
    what: 'one that could only inherit it',
    thread: { permitted: 0n, ambient: 0n, inheritable: CR, effective: CR },
    proof: undefined,
  },
  {
    what: 'a set-user-ID program, which its caller’s real uid is left to',
    thread: { uids: [1500, 0, 0, 0], permitted: all },
    proof: undefined,
  },
  { what: 'one of su, with the uid of the caller alone', thread: { permitted: all }, proof: undefined },
  { what: 'a set-group-ID program', thread: { gids: [1600, 5, 5, 5] }, proof: undefined },
  { what: 'one of another user’s', thread: { uids: four(1501) }, proof: undefined },
  {
    what: 'one whose saved uid alone is another',
    thread: { uids: [1500, 1500, 1501, 1500] },
    proof: undefined,
  },
  { what: 'one that holds more than an engine', thread: { permitted: CR | NET_RAW }, proof: undefined },
  {
    what: 'one that holds what its caller has, and does not hand on',
    engine: { ...engine, permitted: NET_RAW },
    thread: { permitted: CR | NET_RAW },
    proof: undefined,
  },
  { what: 'a page server, which outlives its session', place: 'may hold', proof: undefined },
  {
    what: 'one of a caller who has the capability anyway',
    engine: { ...engine, permitted: CR },
    proof: undefined,
  },
  // Where there is no audit session to tell it by.
  {
    what: 'one that is no older than its engine',
    engine: unmarked,
    process: { session: undefined },
    proof: 'time',
  },
  {
    what: 'one that is older',
    engine: unmarked,
    process: { session: undefined, start: 999 },
    proof: undefined,
  },
  {
    what: 'one in a place of ours, which may be another engine',
    engine: unmarked,
    place: 'of engines',
    proof: undefined,
  },
  {
    what: 'one of an engine of which nothing was kept',
    engine: { ...unmarked, since: undefined },
    proof: undefined,
  },
  // Whoever may leave an audit session may not hide so.
  {
    what: 'one whose engine may leave its session',
    engine: { ...engine, permitted: AUDIT_CONTROL, ambient: AUDIT_CONTROL },
    process: { session: 8 },
    proof: 'time',
  },
  {
    what: 'one whose engine may leave its session, and has not',
    engine: { ...engine, permitted: AUDIT_CONTROL, ambient: AUDIT_CONTROL },
    proof: 'session',
  },
  {
    what: 'one whose caller may leave its session, and does not hand that on',
    engine: { ...engine, permitted: AUDIT_CONTROL },
    process: { session: 8 },
    proof: undefined,
  },
];

describe('whether an engine has left a process', () => {
  for (const row of rows) {
    it(`${row.proof === undefined ? 'is not proved of' : `is proved by its ${row.proof} of`} ${row.what}`, () => {
      const process: Found = { ...left, ...row.process, seen: { ...thread, ...row.thread } };
      assert.equal(proofOf(process, row.place ?? 'elsewhere', row.engine ?? engine), row.proof);
    });
  }

  it('is asked for in its audit session alone, where nothing can have left that', () => {
    assert.deepEqual(whoseOf(engine), { uid: 1500, session: 7 });
    assert.deepEqual(whoseOf({ ...engine, ambient: AUDIT_CONTROL }), { uid: 1500, since: 1000 });
    assert.deepEqual(whoseOf(unmarked), { uid: 1500, since: 1000 });
    assert.ok(isKnown(engine) && isKnown(unmarked) && !isKnown({ ...unmarked, since: undefined }));
  });

  it('does not matter where its caller has the capability without an engine', () => {
    assert.ok(hasItAnyway({ ...engine, permitted: all }) && !hasItAnyway(engine));
  });
});
