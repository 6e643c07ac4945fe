import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { judgeStanding, type StandingOptions } from '../../../src/policy/standing.ts';
import type { CallerIdentity, CallerState, ThreadState } from '../../../src/proc/caller.ts';
import { parseAuxvSecure, parseThreadStatus, parseTracing } from '../../../src/proc/status.ts';

const all = 0x1ffffffffffn;

const rootThread: ThreadState = {
  tid: 10,
  uids: [0, 0, 0, 0],
  gids: [0, 0, 0, 0],
  groups: [],
  inheritable: 0n,
  permitted: all,
  effective: all,
  bounding: all,
  ambient: 0n,
  umask: 0o22,
  noNewPrivs: false,
  seccomp: 0,
  namespaces: {
    user: 'user:[1]',
    pid: 'pid:[2]',
    pid_for_children: 'pid:[2]',
    mnt: 'mnt:[3]',
    net: 'net:[4]',
    time: 'time:[5]',
    time_for_children: 'time:[5]',
  },
  root: '/ mnt_id 28',
};

const service: CallerState = {
  threads: [rootThread],
  secureExec: false,
  label: undefined,
};

const root: CallerIdentity = { pid: 10, uid: 0, gid: 0, groups: [], label: undefined };

const alice: CallerIdentity = { pid: 10, uid: 1500, gid: 1500, groups: [1500, 1600], label: undefined };

const aliceThread: ThreadState = {
  ...rootThread,
  uids: [1500, 1500, 1500, 1500],
  gids: [1500, 1500, 1500, 1500],
  groups: [1500, 1600],
  permitted: 0n,
  effective: 0n,
};

const usual: StandingOptions = { allowNoNewPrivs: false };

function inNamespace(name: string): Partial<CallerState> {
  return { threads: [{ ...rootThread, namespaces: { ...rootThread.namespaces, [name]: `${name}:[9]` } }] };
}

function reasonFor(
  identity: CallerIdentity,
  state: Partial<CallerState>,
  options: StandingOptions = usual,
): string {
  const standing = judgeStanding(identity, { ...service, ...state }, service, options);
  return standing.kind === 'refused' ? standing.reason : '';
}

describe('standing of a caller', () => {
  it('serves root that holds everything that the service holds', () => {
    assert.deepEqual(judgeStanding(root, service, service, usual), { kind: 'fully-privileged' });
  });

  it('serves root that holds more than the service', () => {
    const less = { ...service, threads: [{ ...rootThread, effective: 1n }] };
    assert.equal(judgeStanding(root, service, less, usual).kind, 'fully-privileged');
  });

  it('serves root in another mount namespace, because its requests name only descriptors there', () => {
    assert.equal(reasonFor(root, inNamespace('mnt')), '');
  });

  it('serves a user without root as confined, with the traits that an engine takes over', () => {
    const threads = [
      { ...aliceThread, bounding: 6n, inheritable: 3n, ambient: 2n },
      { ...aliceThread, bounding: 5n, inheritable: 1n, ambient: 2n },
    ];
    assert.deepEqual(judgeStanding(alice, { ...service, threads }, service, usual), {
      kind: 'confined',
      traits: {
        permitted: 0n,
        bounding: 4n,
        inheritable: 1n,
        ambient: 2n,
        noNewPrivs: false,
        umask: 0o22,
        label: undefined,
      },
    });
  });

  const sandboxes: [string, Partial<ThreadState>, RegExp][] = [
    [
      'a seccomp filter',
      { seccomp: 2 },
      /seccomp filter \(SystemCallFilter=.* login shell or by systemd-run --user/,
    ],
    ['no_new_privs', { noNewPrivs: true }, /NoNewPrivileges=.*Landlock.*login shell.*--allow-no-new-privs/],
    ['another root directory', { root: '/srv mnt_id 28' }, /root directory/],
    ['another mount over the same root directory', { root: '/ mnt_id 99' }, /root directory/],
    [
      'a namespace that this service does not have',
      { namespaces: { ...rootThread.namespaces, time: 'time:[9]' } },
      /time namespace/,
    ],
    ...['user', 'pid', 'pid_for_children', 'mnt', 'net'].map(
      (name): [string, Partial<ThreadState>, RegExp] => [
        `another ${name}`,
        { namespaces: { ...rootThread.namespaces, [name]: `${name}:[9]` } },
        { mnt: /mount namespace/, net: /network namespace/ }[name] ??
          new RegExp(`${name.replace('_for_children', '')} namespace`),
      ],
    ),
  ];
  for (const [what, sandboxed, reason] of sandboxes) {
    it(`refuses a user under ${what}, even if only its second thread is`, () => {
      const threads = [aliceThread, { ...aliceThread, ...sandboxed }];
      assert.match(reasonFor(alice, { threads }, usual), reason);
    });
  }

  it('refuses a user under a label that cannot be taken over', () => {
    assert.match(reasonFor(alice, { threads: [aliceThread], label: 'jail' }, usual), /label jail/);
  });

  it('serves a user in another time namespace, which an engine enters', () => {
    const clocks = (time: string, children = time): ThreadState => ({
      ...aliceThread,
      namespaces: { ...aliceThread.namespaces, time, time_for_children: children },
    });
    const judge = (...threads: ThreadState[]) =>
      judgeStanding(alice, { ...service, threads }, service, usual);
    const served = judge(clocks('time:[9]'), clocks('time:[9]'));
    assert.equal(served.kind === 'confined' && served.traits.timeNamespace, 'time:[9]');
    const usualOne = judge(aliceThread);
    assert.equal(usualOne.kind === 'confined' && 'timeNamespace' in usualOne.traits, false);
    for (const threads of [
      [clocks('time:[9]', 'time:[5]')],
      [clocks('time:[5]', 'time:[9]')],
      [aliceThread, clocks('time:[9]')],
      [clocks('time:[9]'), clocks('time:[9]', 'time:[5]')],
    ]) {
      const standing = judge(...threads);
      assert.match(standing.kind === 'refused' ? standing.reason : '', /another time namespace than itself/);
    }
  });

  it('takes over another label than the service’s, where the kernel has a module whose labels can be taken over', () => {
    const options = { ...usual, labels: 'apparmor' } as const;
    const standing = judgeStanding(
      alice,
      { ...service, threads: [aliceThread], label: 'jail' },
      service,
      options,
    );
    assert.ok(standing.kind === 'confined');
    assert.equal(standing.traits.label, 'jail');
    const unlabelled = judgeStanding(
      alice,
      { ...service, threads: [aliceThread] },
      { ...service, label: 'own' },
      options,
    );
    assert.ok(unlabelled.kind === 'refused');
    assert.match(unlabelled.reason, /label \(none\)/);
  });

  it('refuses a user whose label has changed since it connected', () => {
    const connected = { ...alice, label: 'jail' };
    const options = { ...usual, labels: 'apparmor' } as const;
    assert.match(
      reasonFor(connected, { threads: [aliceThread], label: 'free' }, options),
      /free is not the jail that connected/,
    );
  });

  it('serves a user with no_new_privs if that is allowed, and takes it over', () => {
    const threads = [{ ...aliceThread, noNewPrivs: true }];
    const standing = judgeStanding(alice, { ...service, threads }, service, {
      ...usual,
      allowNoNewPrivs: true,
    });
    assert.equal(standing.kind === 'confined' && standing.traits.noNewPrivs, true);
  });

  const refusals: [string, CallerIdentity, Partial<CallerState>, RegExp][] = [
    [
      'root without a capability of the service',
      root,
      { threads: [{ ...rootThread, effective: all & ~1n }] },
      /without all/,
    ],
    [
      'a second thread that is less than the leader',
      root,
      { threads: [rootThread, { ...rootThread, effective: 0n }] },
      /without all/,
    ],
    [
      'root under a seccomp filter in one thread',
      root,
      { threads: [rootThread, { ...rootThread, seccomp: 2 }] },
      /seccomp/,
    ],
    ['root with no_new_privs', root, { threads: [{ ...rootThread, noNewPrivs: true }] }, /no_new_privs/],
    ['root of another user namespace', root, inNamespace('user'), /another user namespace/],
    ['root of another pid namespace', root, inNamespace('pid'), /another pid namespace/],
    [
      'root whose children live in another pid namespace',
      root,
      inNamespace('pid_for_children'),
      /another pid namespace/,
    ],
    [
      'root of a second thread in another pid namespace',
      root,
      { threads: [rootThread, inNamespace('pid').threads![0]!] },
      /another pid/,
    ],
    ['root under another security label', root, { label: 'confined_t' }, /label confined_t/],
    [
      'a caller that became root after it connected',
      alice,
      { threads: [rootThread] },
      /not the 1500 that connected/,
    ],
    [
      'a caller that became root in its saved uid alone',
      alice,
      { threads: [{ ...aliceThread, uids: [1500, 1500, 0, 1500] }] },
      /not the 1500/,
    ],
    [
      'root that dropped its uid after it connected',
      root,
      { threads: [aliceThread] },
      /not the 0 that connected/,
    ],
    [
      'a gid that changed since',
      root,
      { threads: [{ ...rootThread, gids: [0, 4, 0, 0] }] },
      /gids of thread 10/,
    ],
    ['groups that changed since', root, { threads: [{ ...rootThread, groups: [4] }] }, /groups of thread 10/],
    ['a program started across a privilege boundary', root, { secureExec: true }, /AT_SECURE/],
  ];
  for (const [who, identity, state, reason] of refusals) {
    it(`refuses ${who}, with the reason`, () => assert.match(reasonFor(identity, state), reason));
  }
});

describe('parseThreadStatus', () => {
  const text = [
    'Name:\tbad\\nUid:\t0',
    'Pid:\t77',
    'Uid:\t1500\t1501\t1502\t1503',
    'Gid:\t5\t6\t7\t8',
    'Groups:\t24 1500 ',
    'CapInh:\t0000000000000001',
    'CapPrm:\t0000000000000002',
    'CapEff:\t0000000000000004',
    'CapBnd:\t000001ffffffffff',
    'CapAmb:\t0000000000000008',
    'Umask:\t0027',
    'NoNewPrivs:\t1',
    'Seccomp:\t2',
  ];

  it('reads every field', () => {
    assert.deepEqual(parseThreadStatus(text.join('\n')), {
      tid: 77,
      uids: [1500, 1501, 1502, 1503],
      gids: [5, 6, 7, 8],
      groups: [24, 1500],
      inheritable: 1n,
      permitted: 2n,
      effective: 4n,
      bounding: all,
      ambient: 8n,
      umask: 0o27,
      noNewPrivs: true,
      seccomp: 2,
    });
  });

  for (const line of text.slice(1).filter((each) => !/^(Umask|Seccomp)/.test(each))) {
    const name = line.split(':')[0]!;
    it(`throws without the line ${name}, because then nothing is known`, () => {
      assert.throws(
        () => parseThreadStatus(text.filter((each) => each !== line).join('\n')),
        new RegExp(name),
      );
    });
  }
});

describe('parseTracing', () => {
  const status = (name: string): string =>
    `Name:\t${name}\nUmask:\t0022\nState:\tt (tracing stop)\nTracerPid:\t42\nUid:\t1\n`;

  for (const name of ['\rState:\tZ', '\rTracerPid:\t0', '\u2028State:\tZ', 'a\\nState:\tZ', 'State:\tZ']) {
    it(`reads the kernel’s lines, whatever name the process has (${JSON.stringify(name)})`, () => {
      assert.deepEqual(parseTracing(status(name)), { state: 't', tracer: 42 });
    });
  }

  it('reads the status of a running process', async () => {
    const named = `
import sys
open('/proc/self/comm', 'w').write(sys.argv[1])
print('named', flush=True)
sys.stdin.read()
`;
    for (const name of ['\rTracerPid:\t7', '\rState:\tZ']) {
      const child = spawn('python3', ['-c', named, name], { stdio: ['pipe', 'pipe', 'inherit'] });
      await once(child.stdout, 'data');
      const text = readFileSync(`/proc/${child.pid}/status`, 'latin1');
      child.stdin.end();
      assert.ok(text.startsWith(`Name:\t${name}\n`), text);
      assert.equal(parseTracing(text).tracer, 0);
      assert.match(parseTracing(text).state, /[RS]/);
    }
  });

  it('throws without one of its lines', () => {
    assert.throws(() => parseTracing('Name:\tx\nState:\tS\n'), /TracerPid/);
    assert.throws(() => parseTracing('Name:\tx\nTracerPid:\t0\n'), /State/);
  });
});

describe('AT_SECURE', () => {
  const entry = (key: bigint, value: bigint): Buffer => {
    const bytes = Buffer.alloc(16);
    bytes.writeBigUInt64LE(key);
    bytes.writeBigUInt64LE(value, 8);
    return bytes;
  };

  it('is read from the auxiliary vector', () => {
    assert.equal(parseAuxvSecure(Buffer.concat([entry(6n, 4096n), entry(23n, 0n), entry(0n, 0n)])), false);
    assert.equal(parseAuxvSecure(Buffer.concat([entry(6n, 4096n), entry(23n, 1n), entry(0n, 0n)])), true);
  });

  it('counts as set if the vector cannot be read', () =>
    assert.equal(parseAuxvSecure(Buffer.alloc(0)), true));
});
