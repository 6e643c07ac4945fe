import assert from 'node:assert/strict';
import {
  inTimeNamespace,
  judgeReleased,
  judgeRestored,
  type RestoredThread,
  type Restorer,
} from '../../../src/policy/restored.ts';

const bounding = 0x1ffffffffffn;

const surroundings = { namespaces: { pid: 'pid:[1]', net: 'net:[2]' }, root: '/ mnt_id 28' };

const alice: Restorer = {
  uid: 1500,
  gid: 1500,
  groups: [1500, 1600],
  traits: {
    permitted: 0n,
    bounding,
    inheritable: 0n,
    ambient: 0n,
    noNewPrivs: false,
    umask: 0o22,
    label: undefined,
  },
  surroundings,
};

const task: RestoredThread = {
  pid: 20,
  tid: 20,
  uids: [1500, 1500, 1500, 1500],
  gids: [1500, 1500, 1500, 1500],
  groups: [1500, 1600],
  inheritable: 0n,
  permitted: 0n,
  effective: 0n,
  bounding,
  ambient: 0n,
  umask: 0o22,
  noNewPrivs: false,
  seccomp: 0,
  ...surroundings,
  state: 't',
  tracer: 10,
  label: undefined,
};

const engine: RestoredThread = { ...task, pid: 10, tid: 10, permitted: 1n << 40n, state: 'S', tracer: 0 };

describe('judgeRestored', () => {
  it('allows a tree that equals its owner in everything', () => {
    assert.equal(judgeRestored([engine, task, { ...task, tid: 21 }], 10, alice), undefined);
  });

  it('allows fewer rights than the owner’s, a seccomp filter, and no_new_privs', () => {
    assert.equal(
      judgeRestored([engine, { ...task, bounding: 0n, seccomp: 2, noNewPrivs: true }], 10, alice),
      undefined,
    );
  });

  it('allows the owner’s own capabilities', () => {
    const traits = { ...alice.traits, permitted: 4n, ambient: 4n, inheritable: 4n };
    const same = { ...task, permitted: 4n, effective: 4n, ambient: 4n, inheritable: 4n };
    assert.equal(judgeRestored([engine, same], 10, { ...alice, traits }), undefined);
  });

  it('allows the time namespace that was made for the engine, and no other', () => {
    const clocks = (time: string, children = time): Pick<RestoredThread, 'namespaces'> => ({
      namespaces: { ...surroundings.namespaces, time, time_for_children: children },
    });
    const service = { ...surroundings, ...clocks('time:[3]') };
    const judge = (
      made: string | undefined,
      thread: Pick<RestoredThread, 'namespaces'>,
    ): string | undefined =>
      judgeRestored([engine, { ...task, ...thread }], 10, {
        ...alice,
        surroundings: inTimeNamespace(service, made),
      });
    assert.equal(judge('time:[4]', clocks('time:[4]')), undefined);
    assert.equal(judge(undefined, clocks('time:[3]')), undefined);
    for (const [made, thread] of [
      ['time:[4]', clocks('time:[3]')],
      ['time:[4]', clocks('time:[5]')],
      ['time:[4]', clocks('time:[4]', 'time:[5]')],
      ['time:[4]', clocks('time:[5]', 'time:[4]')],
      ['time:[4]', { namespaces: surroundings.namespaces }],
      [undefined, clocks('time:[4]')],
    ] as const) {
      assert.match(judge(made, thread)!, /^process 20 is in another time(_for_children)? namespace$/);
    }
  });

  it('refuses a tree without the engine that holds it, and an engine without a tree', () => {
    assert.match(judgeRestored([task], 10, alice)!, /engine has gone/);
    assert.match(judgeRestored([engine], 10, alice)!, /no restored process/);
  });

  const CHECKPOINT_RESTORE = 1n << 40n;
  const wrong: [string, Partial<RestoredThread>, RegExp][] = [
    ['runs', { state: 'R' }, /not held/],
    ['is stopped by another tracer', { tracer: 11 }, /not held/],
    ['sleeps, untraced', { state: 'S', tracer: 0 }, /not held/],
    ['has another real uid', { uids: [0, 1500, 1500, 1500] }, /uids 0/],
    ['has another saved uid', { uids: [1500, 1500, 0, 1500] }, /uids/],
    ['has another file system uid', { uids: [1500, 1500, 1500, 0] }, /uids/],
    ['has another gid', { gids: [1500, 4, 1500, 1500] }, /gids/],
    ['has an additional group', { groups: [4, 1500, 1600] }, /groups/],
    ['lacks a group', { groups: [1500] }, /groups/],
    ['keeps the engine’s capability', { permitted: CHECKPOINT_RESTORE }, /permitted/],
    ['has an effective capability', { effective: 1n }, /effective/],
    ['has an inheritable capability', { inheritable: CHECKPOINT_RESTORE }, /inheritable/],
    ['has an ambient capability', { ambient: 1n }, /ambient/],
    ['has a wider bounding set', { bounding: bounding | (1n << 50n) }, /bounding/],
    [
      'is in another namespace',
      { namespaces: { ...surroundings.namespaces, net: 'net:[9]' } },
      /net namespace/,
    ],
    [
      'is in an additional namespace',
      { namespaces: { ...surroundings.namespaces, time: 'time:[9]' } },
      /time namespace/,
    ],
    ['has another root', { root: '/srv mnt_id 28' }, /root directory/],
    ['has another label', { label: 'unconfined' }, /label/],
  ];
  for (const [what, difference, reason] of wrong) {
    it(`refuses a tree in which a thread after the leader ${what}`, () => {
      const thread = { ...task, tid: 21, ...difference };
      assert.match(judgeRestored([engine, task, thread], 10, alice)!, reason);
    });
  }

  it('refuses a tree without the no_new_privs of its owner', () => {
    const traits = { ...alice.traits, noNewPrivs: true };
    assert.match(judgeRestored([engine, task], 10, { ...alice, traits })!, /no_new_privs/);
  });

  it('refuses a tree whose zombie has more rights than its owner', () => {
    const zombie = { ...task, state: 'Z', tracer: 0, namespaces: {} };
    assert.equal(judgeRestored([engine, task, zombie], 10, alice), undefined);
    assert.match(
      judgeRestored([engine, task, { ...zombie, permitted: CHECKPOINT_RESTORE }], 10, alice)!,
      /permitted/,
    );
  });
});

describe('judgeReleased', () => {
  const released: RestoredThread = { ...task, state: 'S', tracer: 0 };

  it('allows a tree that is as it was verified', () => {
    assert.equal(judgeReleased([released, { ...released, tid: 21 }], alice), undefined);
  });

  it('refuses a tree with a thread that is traced, or that has more rights than its owner', () => {
    assert.match(
      judgeReleased([released, { ...released, tid: 21, tracer: 30 }], alice)!,
      /thread 21, is traced/,
    );
    assert.match(
      judgeReleased([released, { ...released, pid: 21, tid: 21, permitted: 1n << 40n }], alice)!,
      /process 21/,
    );
  });

  it('refuses an empty scope: its tree may have been moved away', () => {
    assert.match(judgeReleased([], alice)!, /not in its scope/);
  });
});
