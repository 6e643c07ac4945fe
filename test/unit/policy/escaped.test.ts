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
  // Processes that descend from the engine.
  { what: 'a process in the audit session of the engine', proof: 'session' },
  { what: 'a process in a scope of this service', place: 'of engines', proof: 'session' },
  {
    what: 'a process that has dropped all but the permitted set',
    thread: { effective: 0n, ambient: 0n },
    proof: 'session',
  },
  { what: 'a process with a start time before the engine', process: { start: 1 }, proof: 'session' },
  {
    what: 'a process with an ambient capability of the caller’s',
    engine: { ...engine, permitted: NET_RAW, ambient: NET_RAW },
    thread: { permitted: CR | NET_RAW },
    proof: 'session',
  },
  {
    what: 'a process whose engine’s gid was not recorded',
    engine: { ...engine, gid: undefined },
    thread: { gids: four(9) },
    proof: 'session',
  },
  // Processes of other origin.
  { what: 'a process of a login with the capability (pam_cap)', process: { session: 8 }, proof: undefined },
  { what: 'a process without an audit session', process: { session: undefined }, proof: undefined },
  {
    what: 'a program with file capabilities',
    process: { session: 8 },
    thread: { ambient: 0n, inheritable: 0n },
    proof: undefined,
  },
  { what: 'a process without the capability', thread: { permitted: 0n, ambient: 0n }, proof: undefined },
  {
    what: 'a process that has the capability only as inheritable',
    thread: { permitted: 0n, ambient: 0n, inheritable: CR, effective: CR },
    proof: undefined,
  },
  {
    what: 'a set-user-ID program, which keeps its caller’s real uid',
    thread: { uids: [1500, 0, 0, 0], permitted: all },
    proof: undefined,
  },
  { what: 'a process of su with the uid of the caller', thread: { permitted: all }, proof: undefined },
  { what: 'a set-group-ID program', thread: { gids: [1600, 5, 5, 5] }, proof: undefined },
  { what: 'a process of another user', thread: { uids: four(1501) }, proof: undefined },
  {
    what: 'a process with another saved uid',
    thread: { uids: [1500, 1500, 1501, 1500] },
    proof: undefined,
  },
  {
    what: 'a process with more capabilities than an engine',
    thread: { permitted: CR | NET_RAW },
    proof: undefined,
  },
  {
    what: 'a process with a capability that the caller has, but not as ambient',
    engine: { ...engine, permitted: NET_RAW },
    thread: { permitted: CR | NET_RAW },
    proof: undefined,
  },
  { what: 'a page server, which outlives its session', place: 'may hold', proof: undefined },
  {
    what: 'a process of a caller that has the capability anyway',
    engine: { ...engine, permitted: CR },
    proof: undefined,
  },
  // Engines without an audit session.
  {
    what: 'a process that is younger than its engine',
    engine: unmarked,
    process: { session: undefined },
    proof: 'time',
  },
  {
    what: 'a process that is older than its engine',
    engine: unmarked,
    process: { session: undefined, start: 999 },
    proof: undefined,
  },
  {
    what: 'a process in a cgroup of this service, which may be another engine',
    engine: unmarked,
    place: 'of engines',
    proof: undefined,
  },
  {
    what: 'a process of an engine without any record',
    engine: { ...unmarked, since: undefined },
    proof: undefined,
  },
  // Leaving the audit session, which takes CAP_AUDIT_CONTROL, does not hide a process.
  {
    what: 'a process whose engine may leave its session',
    engine: { ...engine, permitted: AUDIT_CONTROL, ambient: AUDIT_CONTROL },
    process: { session: 8 },
    proof: 'time',
  },
  {
    what: 'a process whose engine may leave its session, and has not',
    engine: { ...engine, permitted: AUDIT_CONTROL, ambient: AUDIT_CONTROL },
    proof: 'session',
  },
  {
    what: 'a process whose caller may leave its session, but has no ambient capability for that',
    engine: { ...engine, permitted: AUDIT_CONTROL },
    process: { session: 8 },
    proof: undefined,
  },
];

describe('proofOf', () => {
  for (const row of rows) {
    it(`${row.proof === undefined ? 'finds no proof for' : `proves by ${row.proof}`} ${row.what}`, () => {
      const process: Found = { ...left, ...row.process, seen: { ...thread, ...row.thread } };
      assert.equal(proofOf(process, row.place ?? 'elsewhere', row.engine ?? engine), row.proof);
    });
  }

  it('looks only into the audit session if no process can have left it', () => {
    assert.deepEqual(whoseOf(engine), { uid: 1500, session: 7 });
    assert.deepEqual(whoseOf({ ...engine, ambient: AUDIT_CONTROL }), { uid: 1500, since: 1000 });
    assert.deepEqual(whoseOf(unmarked), { uid: 1500, since: 1000 });
    assert.ok(isKnown(engine) && isKnown(unmarked) && !isKnown({ ...unmarked, since: undefined }));
  });

  it('ignores engines whose caller has the capability anyway', () => {
    assert.ok(hasItAnyway({ ...engine, permitted: all }) && !hasItAnyway(engine));
  });
});
