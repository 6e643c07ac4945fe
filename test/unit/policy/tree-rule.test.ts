import assert from 'node:assert/strict';
import { constants as os } from 'node:os';
import { bitOf, namesOf } from '../../../src/policy/capabilities.ts';
import { refusedTree, type TreeFacts, warningAbout } from '../../../src/policy/tree-rule.ts';
import type { TreeThread } from '../../../src/proc/process-tree.ts';
import { maxTreeThreads } from '../../../src/proc/tree-limit.ts';

const all = (1n << 41n) - 1n;
const hers: TreeThread = {
  pid: 500,
  tid: 500,
  uids: [1500, 1500, 1500, 1500],
  gids: [1600, 1600, 1600, 1600],
  inheritable: 0n,
  permitted: 0n,
  bounding: all,
  noNewPrivs: false,
  seccomp: 0,
  mapped: false,
};
const alice = { uid: 1500, gid: 1600, permitted: 0n };
const facts: TreeFacts = {
  allCapabilities: all,
  inheritable: bitOf('WAKE_ALARM'),
  engines: new Set([7]),
  ends: true,
  hidden: false,
  around: [],
  groupName: (gid) => (gid === 44 ? 'video' : undefined),
};

const reasonOf = (thread: Partial<TreeThread>, more: Partial<TreeFacts> = {}): string | undefined =>
  refusedTree(500, [hers, { ...hers, pid: 501, tid: 502, ...thread }], alice, { ...facts, ...more })?.reason;

describe('the tree of a caller without root', () => {
  it('is hers if each of its threads is', () => {
    assert.equal(reasonOf({}), undefined);
  });

  it('does not exist if it has no thread', () => {
    assert.equal(refusedTree(500, [], alice, facts)?.errno, os.errno.ESRCH);
  });

  it('looks the same as a missing tree where /proc hides processes that are not hers', () => {
    const hidden = { ...facts, hidden: true };
    const bobs = { ...hers, uids: [1501, 1501, 1501, 1501] };
    const answers = [[], [bobs], [hers, bobs], [{ ...bobs, permitted: all }]].map((tree) =>
      refusedTree(500, tree, alice, hidden),
    );
    for (const answer of answers) {
      const reason = 'process 500 is not there, or its tree is not all yours';
      assert.deepEqual(answer, { errno: os.errno.EPERM, reason });
    }
    assert.equal(refusedTree(500, [hers], alice, hidden), undefined);
    assert.match(reasonOf({ gids: [44, 44, 44, 44] }, { hidden: true }) ?? '', /has the gid 44/);
  });

  for (const [which, uids] of [
    ['real', [1501, 1500, 1500, 1500]],
    ['effective', [1500, 0, 1500, 1500]],
    ['saved', [1500, 1500, 0, 1500]],
  ] as const) {
    it(`is refused with another ${which} uid in one thread, and the refusal names both`, () => {
      assert.match(
        reasonOf({ uids }) ?? '',
        /^process 501 of the tree has the uid (0|1501), and yours is 1500$/,
      );
    });
  }

  for (const [which, gids] of [
    ['real', [44, 1600, 1600, 1600]],
    ['effective', [1600, 44, 1600, 44]],
    ['saved', [1600, 1600, 44, 1600]],
  ] as const) {
    it(`is refused with another ${which} gid in one thread, and the refusal says what to do`, () => {
      assert.match(
        reasonOf({ gids }) ?? '',
        /^process 501 of the tree has the gid 44, and yours is 1600: .* \(sg, newgrp\), or start it without$/,
      );
    });
  }

  it('is reported as another user’s before it is reported as another group’s', () => {
    assert.match(reasonOf({ uids: [0, 0, 0, 0], gids: [0, 0, 0, 0] }) ?? '', /has the uid 0/);
  });

  it('is refused if a thread holds a capability that she lacks', () => {
    assert.match(reasonOf({ permitted: bitOf('KILL') }) ?? '', /capabilities that you do not hold/);
  });

  it('is refused if it contains an engine of this service', () => {
    assert.match(reasonOf({ pid: 7 }) ?? '', /engine of this service/);
  });

  it('is refused if it has more threads than the limit', () => {
    const many = Array.from({ length: maxTreeThreads + 1 }, () => hers);
    assert.match(refusedTree(500, many, alice, facts)?.reason ?? '', /more than 100000 threads/);
    assert.equal(refusedTree(500, many.slice(1), alice, facts), undefined);
  });

  it('is reported as another user’s before any other obstacle', () => {
    const narrowed = { ...hers, bounding: 1n };
    const bobs = { ...hers, pid: 501, uids: [1501, 1501, 1501, 1501] };
    assert.match(refusedTree(500, [narrowed, bobs], alice, facts)?.reason ?? '', /process 501 .*uid 1501/);
  });

  it('is not dumped with its end if only CAP_SETPCAP could restore it', () => {
    const bounding = all & ~bitOf('SYS_ADMIN') & ~bitOf('BPF');
    assert.match(
      reasonOf({ bounding }) ?? '',
      /^process 501 of the tree has no CAP_SYS_ADMIN, CAP_BPF in its bounding set/,
    );
    assert.equal(reasonOf({ bounding }, { ends: false }), undefined);
    assert.equal(reasonOf({ bounding, noNewPrivs: true }), undefined);
    // With no_new_privs the task cannot regain capabilities, but those that it holds would have to be dropped.
    const permitted = bitOf('BPF');
    const owner = { uid: 1500, gid: 1600, permitted };
    const thread = { ...hers, bounding, noNewPrivs: true, permitted };
    assert.match(refusedTree(500, [thread], owner, facts)?.reason ?? '', /has no CAP_BPF in/);
  });
});

describe('a tree that its caller could not restore', () => {
  const warningOf = (thread: Partial<TreeThread>, more: Partial<TreeFacts> = {}) =>
    warningAbout([hers, { ...hers, ...thread }], { ...facts, ends: false, ...more });

  /** A property, the words about it, and whether CRIU without root could dump it at all. */
  const obstacles: [what: string, Partial<TreeThread>, Partial<TreeFacts>, RegExp, 'dumped' | 'never'][] = [
    ['a bounding set without a capability', { bounding: 1n }, {}, /bounding set/, 'dumped'],
    [
      'an inheritable capability that its caller lacks',
      { inheritable: bitOf('WAKE_ALARM') | bitOf('NET_RAW') },
      {},
      /has CAP_NET_RAW in its inheritable set, which you lack there/,
      'dumped',
    ],
    [
      'a group that its caller lacks',
      { otherGroups: { more: [44, 45], fewer: [] } },
      {},
      /has the supplementary groups video \(44\), 45, which you lack, so that you could not restore it/,
      'dumped',
    ],
    [
      'fewer groups than its caller',
      { otherGroups: { more: [], fewer: [44] } },
      {},
      /lacks your supplementary groups video \(44\), so that you could not restore it/,
      'dumped',
    ],
    [
      'groups that cannot be compared',
      { otherGroups: { more: [], fewer: [] } },
      {},
      /has other supplementary groups than you/,
      'dumped',
    ],
    ['a seccomp filter', { seccomp: 2 }, {}, /is under a seccomp filter/, 'never'],
    [
      'a user namespace of its own',
      { mapped: true, permitted: all },
      {},
      /lives in a user namespace/,
      'never',
    ],
    [
      'a property of its surroundings',
      {},
      { around: [{ pid: 501, consequence: 'no-restore', what: 'is elsewhere', remedy: 'go there' }] },
      /process 501 of the tree is elsewhere/,
      'dumped',
    ],
  ];
  for (const [what, thread, more, words, served] of obstacles) {
    it(`is not dumped with its end if it has ${what}`, () => {
      assert.match(reasonOf(thread, more) ?? '', words);
    });

    it(`is ${served === 'never' ? 'refused' : 'dumped with a warning'} if it has ${what} and runs on`, () => {
      const refused = reasonOf(thread, { ...more, ends: false });
      if (served === 'never') assert.match(refused ?? '', words);
      else {
        assert.equal(refused, undefined);
        assert.match(warningOf(thread, more) ?? '', words);
      }
    });
  }

  it('is dumped with a warning if it comes back changed, whether it ends or not', () => {
    const limits = {
      pid: 500,
      consequence: 'changed',
      what: 'has hard limits above yours',
      remedy: '',
    } as const;
    const changed: Partial<TreeFacts> = { around: [limits] };
    for (const ends of [true, false]) {
      assert.equal(reasonOf({}, { ...changed, ends }), undefined);
      assert.equal(
        warningOf({}, { ...changed, ends }),
        'process 500 of the tree has hard limits above yours',
      );
    }
  });

  it('has no warning if nothing differs that matters', () => {
    assert.equal(warningOf({}), undefined);
    assert.equal(warningOf({ inheritable: bitOf('WAKE_ALARM') }), undefined);
  });

  it('is reported as another user’s before any of this, with its user namespace', () => {
    const uids = [100_999, 100_999, 100_999, 100_999];
    assert.match(
      reasonOf({ uids, mapped: true, seccomp: 2 }) ?? '',
      /has the uid 100999, and yours is 1500, in a user namespace of its own \(a rootless container/,
    );
  });
});

describe('names of capabilities', () => {
  it('match the kernel’s numbers', () => {
    assert.equal(bitOf('CHOWN'), 1n);
    assert.equal(bitOf('CHECKPOINT_RESTORE'), 1n << 40n);
    assert.equal(namesOf(bitOf('SYS_PTRACE') | (1n << 45n)), 'CAP_SYS_PTRACE, CAP_45');
    assert.equal(namesOf(0n), '');
  });
});
