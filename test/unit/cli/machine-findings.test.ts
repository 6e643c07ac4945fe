import assert from 'node:assert/strict';
import { findingsOf, highestScope, type MachineFacts } from '../../../src/cli/machine-findings.ts';
import { requestTable } from '../../../src/policy/request-table.ts';
import { ReqType } from '../../../src/protocol/messages.ts';

const good: MachineFacts = {
  isRoot: false,
  criu: { major: 4, minor: 2, sublevel: 1 },
  linux: '6.12.1-amd64',
  ptraceScope: 0,
  canName: true,
  pids: 'moved',
  pidMax: 4194304,
  kerndat: 'kept',
};

type Subject = 'CRIU' | 'Linux' | 'Yama' | 'pids' | 'kernel facts';

const rows: readonly [
  what: string,
  facts: Partial<MachineFacts>,
  about: Subject,
  limits: RegExp | undefined,
  remedy?: RegExp,
][] = [
  [
    'Yama 1, for a user',
    { ptraceScope: 1 },
    'Yama',
    /^each dump and pre-dump of yours is refused, unless its target descends from the process that asks, .*, a restore of yours gets no descriptors/,
    /ptrace_scope=0.*--yama=own/,
  ],
  [
    'Yama 1 on another architecture',
    { ptraceScope: 1, canName: false },
    'Yama',
    /^each dump and pre-dump of yours is refused, a restore of yours gets no descriptors/,
    /ptrace_scope=0, and a file in \/etc\/sysctl.d for later boots$/,
  ],
  [
    'Yama 1, for root',
    { ptraceScope: 1, isRoot: true },
    'Yama',
    /^each dump and pre-dump of a user without root is refused/,
  ],
  [
    'Yama 2',
    { ptraceScope: 2 },
    'Yama',
    /^each dump, pre-dump and restore of yours is refused$/,
    /ptrace_scope=0/,
  ],
  ['Yama 3', { ptraceScope: 3, isRoot: true }, 'Yama', /root’s too/, /Only the next boot/],
  [
    'a CRIU that serves only root',
    { criu: { major: 3, minor: 17, sublevel: 0 } },
    'CRIU',
    /^every request of a user without root is refused: CRIU 3.18/,
  ],
  [
    'a CRIU with a known flaw',
    { criu: { major: 4, minor: 1, sublevel: 1 } },
    'CRIU',
    /^CRIU 4.1.1 has CVE-2026-18107/,
  ],
  ['no version of CRIU', { criu: undefined }, 'CRIU', undefined],
  ['an old Linux', { linux: '6.1.0' }, 'Linux', /takes Linux 6.5/],
  [
    'pids that were not moved',
    { pids: 'not-moved' },
    'pids',
    /refused if other processes have the pids/,
    /enable --now criu.socket/,
  ],
  ['pids of a container', { pids: 'impossible' }, 'pids', /refused if other processes have the pids/],
  ['few pids', { pidMax: 32767 }, 'pids', /refused if other processes have the pids/, /kernel.pid_max/],
  ['no systemd', { pids: 'unknown' }, 'pids', undefined],
  ['no facts about the kernel', { kerndat: 'missing' }, 'kernel facts', undefined],
  ['old facts about the kernel', { kerndat: 'outdated' }, 'kernel facts', undefined],
];

describe('what the settings of a machine mean for requests', () => {
  it('is nothing on a good machine', () => {
    assert.deepEqual(
      findingsOf(good).flatMap(({ limits }) => limits),
      [],
    );
  });

  for (const [what, facts, about, limits, remedy] of rows) {
    it(`is told for ${what}, and for nothing else`, () => {
      const findings = findingsOf({ ...good, ...facts });
      const limited = findings.filter((each) => each.limits.length > 0);
      assert.deepEqual(
        limited.map(({ subject }) => subject),
        limits ? [about] : [],
      );
      const found = findings.find(({ subject }) => subject === about)!;
      if (limits) assert.match(found.limits.join(', '), limits);
      if (remedy) assert.match(found.remedy ?? '', remedy);
      assert.notEqual(found.found, '');
    });
  }

  it('agrees with the table of requests about Yama', () => {
    const scopeOf = (type: ReqType): number => requestTable.get(type)!.ptraceScope;
    assert.deepEqual(highestScope, {
      dump: scopeOf(ReqType.DUMP),
      'pre-dump': scopeOf(ReqType.SINGLE_PRE_DUMP),
      restore: scopeOf(ReqType.RESTORE),
    });
  });
});
