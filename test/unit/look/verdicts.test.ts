import assert from 'node:assert/strict';
import type { Thing } from '../../../src/look/things.ts';
import { type Circumstances, judge, type Verdict } from '../../../src/look/verdicts.ts';

const alice: Circumstances = {
  isRoot: false,
  criu: { major: 4, minor: 2, sublevel: 1 },
  linux: '6.12.1',
};
const root: Circumstances = { ...alice, isRoot: true };
const old: Circumstances = { ...alice, criu: { major: 4, minor: 1, sublevel: 1 }, linux: '6.18.44-x' };

const tee = { pid: 7, name: 'tee' };
const holders = [tee];
const none = { holders: [] } as const;
const file = { kind: 'file', path: '/f' } as const;
const deleted = { kind: 'deleted', path: '/f', size: 10, links: 0, writable: true } as const;
const terminal = { kind: 'terminal', path: '/dev/pts/1', holders, outside: 1, stopped: false } as const;
const pipe = { kind: 'pipe', inode: 5 } as const;
const unix = { kind: 'unix', peer: '', holders } as const;
const tcp = { kind: 'internet', protocol: 'TCP', local: '', remote: '' } as const;
const obstacle = { pid: 1, what: 'has the groups', remedy: 'ask as root' };

type Expected = 'back' | 'noted' | 'unknown' | `needs ${string}` | `never ${string}`;

function brief(verdict: Verdict): string {
  switch (verdict.verdict) {
    case 'comes-back':
      return verdict.note === undefined ? 'back' : 'noted';
    case 'cannot-be-told':
      return 'unknown';
    case 'with-option':
      return `needs ${[verdict.needs.dump, verdict.needs.restore].filter(Boolean).join(', ')}`;
    case 'does-not-come-back':
      return 'never';
  }
}

const rows: readonly [title: string, thing: Thing, forAlice: Expected, forRoot?: Expected][] = [
  ['a file', { ...file, writers: [] }, 'back'],
  ['a file that another process writes', { ...file, writers: holders }, 'noted'],
  ['a file on a mount that the process does not see', { kind: 'no-mount', path: '/x' }, 'never a mount'],
  [
    'a file that only its opener could open',
    { kind: 'not-openable', path: '/f', use: 'write' },
    'never you may not open it by its name to write it',
  ],
  ['script(1)', { kind: 'interrupted', program: 'script' }, 'never a restore interrupts the wait of script'],
  ['xz(1)', { kind: 'sandboxed', program: 'xz' }, 'never xz has entered a sandbox'],
  [
    'a process whose limits root may not read',
    { kind: 'limits', user: 'bob', gid: 7 },
    'never it belongs to bob',
  ],
  [
    'a process of root’s in another group, whose limits root may not read',
    { kind: 'limits', user: undefined, gid: 7 },
    'never its group is 7',
  ],
  ['a small deleted file', deleted, 'back'],
  ['a large deleted file', { ...deleted, size: 3_000_000 }, 'needs --ghost-limit 3M'],
  ['a file that has lost this name', { ...deleted, links: 1 }, 'needs --link-remap'],
  [
    'a mapped file that has lost this name',
    { ...deleted, links: 1, mapped: true },
    'never it is mapped, has lost this name',
    'needs --link-remap',
  ],
  [
    'a Unix socket whose file was removed',
    { ...unix, type: 'stream', end: 'nobody', file: { name: '/s', state: 'gone' } },
    'never its file /s was removed or renamed',
    'back',
  ],
  [
    'a Unix socket whose file was replaced by one of another user',
    { ...unix, type: 'stream', end: 'nobody', file: { name: '/s', state: 'foreign' } },
    'never its file /s was replaced',
    'back',
  ],
  [
    'a Unix socket whose file was renamed, and another has its name',
    { ...unix, type: 'datagram', end: 'nobody', file: { name: '/s', state: 'moved' } },
    'back',
    'never its file was renamed',
  ],
  [
    'a Unix socket that has its file',
    { ...unix, type: 'stream', end: 'nobody', file: { name: '/s', state: 'there' } },
    'back',
  ],
  [
    'a deleted file in a directory of root’s',
    { ...deleted, writable: false },
    'never who may write in its directory',
    'back',
  ],
  ['a terminal of a program in the tree', { ...terminal, end: 'inside' }, 'back'],
  ['a terminal whose other end is outside', { ...terminal, end: 'outside' }, 'needs --shell-job'],
  ['a terminal of somebody unseen', { ...terminal, ...none, end: 'unseen' }, 'needs --shell-job'],
  ['a terminal that has gone', { ...terminal, end: 'nobody' }, 'unknown'],
  ['the first of two terminals', { ...terminal, end: 'outside', outside: 2 }, 'never 2 terminals'],
  ['a terminal of a stopped program', { ...terminal, end: 'outside', stopped: true }, 'never stopped'],
  ['a console', { kind: 'console', path: '/dev/tty1' }, 'unknown'],
  ['a pipe in the tree', { ...pipe, ...none, use: 'write', end: 'inside' }, 'back'],
  ['a pipe whose other end is closed', { ...pipe, ...none, use: 'write', end: 'nobody' }, 'back'],
  ['a pipe that tee reads', { ...pipe, holders, use: 'write', end: 'outside' }, 'never tee (process 7)'],
  ['a pipe that tee writes', { ...pipe, holders, use: 'read', end: 'outside' }, 'never end of its input'],
  ['a pipe of somebody unseen', { ...pipe, ...none, use: 'write', end: 'unseen' }, 'never may not look at'],
  ['a FIFO', { kind: 'fifo', path: '/f' }, 'noted'],
  ['a socket pair in the tree', { ...unix, type: 'stream', end: 'inside' }, 'back'],
  ['a Unix socket without a peer', { ...unix, type: 'stream', end: 'nobody' }, 'back'],
  ['a Unix socket that is not known', { ...unix, type: 'stream', end: 'unknown' }, 'unknown'],
  [
    'the journal as standard output',
    { ...unix, type: 'stream', end: 'outside', peer: '/run/systemd/journal/stdout' },
    'never /run/systemd/journal/stdout',
  ],
  ['a connection to D-Bus', { ...unix, type: 'stream', end: 'unseen', peer: '/run/dbus' }, 'never /run/dbus'],
  [
    'a socket of syslog(3)',
    { ...unix, type: 'datagram', end: 'unseen', peer: '/run/systemd/journal/dev-log' },
    'needs --ext-unix-sk, --ext-unix-sk',
  ],
  ['half of a datagram pair', { ...unix, type: 'datagram', end: 'outside' }, 'never no name'],
  [
    'half of a seqpacket pair',
    { ...unix, type: 'seqpacket', end: 'outside', peer: '/s' },
    'never connected to',
  ],
  ['a TCP socket that listens', { ...tcp, state: 'listening' }, 'back'],
  ['a socket of UDP', { ...tcp, protocol: 'UDP', state: 'none' }, 'back'],
  [
    'a TCP connection',
    { ...tcp, state: 'connected' },
    'needs --tcp-close, --tcp-close',
    'needs --tcp-established, --tcp-established',
  ],
  [
    'a TCP connection within the tree',
    { ...tcp, state: 'connected', isInside: true },
    'unknown',
    'needs --tcp-established, --tcp-established',
  ],
  [
    'a TCP connection that is not established yet',
    { ...tcp, state: 'connecting' },
    'needs --tcp-close, --tcp-close',
    'needs --tcp-established, --tcp-established',
  ],
  [
    'a TCP socket with a connection that it has not accepted',
    { ...tcp, state: 'listening', waiting: 1 },
    'needs --skip-in-flight',
  ],
  ['a socket in a state that is not known', { ...tcp, state: 'unknown' }, 'unknown'],
  ['a netlink socket', { kind: 'socket', protocol: 'NETLINK' }, 'back'],
  ['a packet socket', { kind: 'socket', protocol: 'PACKET' }, 'unknown', 'back'],
  ['a socket of VSOCK', { kind: 'socket', protocol: 'AF_VSOCK' }, 'never AF_VSOCK'],
  ['a socket without a protocol', { kind: 'socket', protocol: undefined }, 'unknown'],
  ['an eventfd', { kind: 'anonymous', name: 'eventfd' }, 'back'],
  ['epoll', { kind: 'anonymous', name: 'eventpoll' }, 'back'],
  ['a signalfd', { kind: 'anonymous', name: 'signalfd' }, 'back'],
  ['a timerfd', { kind: 'anonymous', name: 'timerfd' }, 'back'],
  ['io_uring', { kind: 'anonymous', name: 'io_uring' }, 'never io_uring'],
  ['a performance counter', { kind: 'anonymous', name: 'perf_event' }, 'never perf_event'],
  ['a userfaultfd', { kind: 'anonymous', name: 'userfaultfd' }, 'never userfaultfd'],
  ['a map of BPF', { kind: 'anonymous', name: 'bpf-map' }, 'never bpf-map', 'unknown'],
  ['fanotify', { kind: 'anonymous', name: 'fanotify' }, 'never fanotify', 'unknown'],
  ['inotify without a watch', { kind: 'watches', count: 0 }, 'back'],
  ['inotify with watches', { kind: 'watches', count: 2 }, 'unknown'],
  ['a pidfd of the tree', { kind: 'pidfd', target: 4, inside: true }, 'back'],
  ['a pidfd of another process', { kind: 'pidfd', target: 4, inside: false }, 'never process 4'],
  ['a pidfd of an ended process', { kind: 'pidfd', target: -1, inside: false }, 'unknown'],
  ['/dev/null', { kind: 'device', path: '/dev/null', major: 1, minor: 3 }, 'back'],
  ['a tun device', { kind: 'device', path: '/dev/net/tun', major: 10, minor: 200 }, 'back'],
  [
    'a device of FUSE',
    { kind: 'device', path: '/dev/fuse', major: 10, minor: 229 },
    'never /dev/fuse (10:229)',
  ],
  ['a GPU', { kind: 'device', path: '/dev/nvidia0', major: 195, minor: 0 }, 'never /dev/nvidia0'],
  ['a file lock', { kind: 'lock', path: '/f', type: 'FLOCK WRITE' }, 'needs --file-locks, --file-locks'],
  ['System V memory', { kind: 'system-v-memory', key: '0' }, 'never System V'],
  ['a mapped device', { kind: 'mapped-device', path: '/dev/mem' }, 'never /dev/mem'],
  ['a session outside', { kind: 'session', leader: 3 }, 'needs --shell-job, --shell-job'],
  ['a tracer', { kind: 'traced', by: tee }, 'never tee (process 7) traces it'],
  [
    'other groups',
    { kind: 'credential', obstacle: { ...obstacle, consequence: 'no-restore' } },
    'never it has the groups',
  ],
  [
    'a seccomp filter',
    { kind: 'credential', obstacle: { ...obstacle, consequence: 'no-dump' } },
    'never it has',
  ],
  ['lower limits', { kind: 'credential', obstacle: { ...obstacle, consequence: 'changed' } }, 'noted'],
  ['a process of another user', { kind: 'foreign', user: 'bob' }, 'never bob'],
  ['a scope of ptrace', { kind: 'ptrace-scope', value: 1 }, 'unknown'],
  ['criuctl in the tree', { kind: 'contains-criuctl' }, 'never criuctl'],
  ['a thread of the kernel', { kind: 'kernel-thread' }, 'never kernel'],
  ['what cannot be read', { kind: 'unreadable', what: 'its files' }, 'unknown'],
];

function agree(verdict: Verdict, expected: Expected): void {
  if (!expected.startsWith('never ')) {
    assert.equal(brief(verdict), expected);
    return;
  }
  assert.ok(verdict.verdict === 'does-not-come-back', JSON.stringify(verdict));
  assert.ok(verdict.why.includes(expected.slice('never '.length)), verdict.why);
  assert.notEqual(verdict.remedy, '');
}

describe('the verdict about each thing', () => {
  for (const [title, thing, forAlice, forRoot = forAlice] of rows) {
    it(`${title}: ${forAlice}${forRoot === forAlice ? '' : `; for root: ${forRoot}`}`, () => {
      agree(judge(thing, alice), forAlice);
      agree(judge(thing, root), forRoot);
    });
  }

  it('says that CRIU before 4.2.1 cannot dump internet sockets on Linux 6.17 and later', () => {
    agree(judge({ ...tcp, state: 'listening' }, old), 'never CRIU 4.1.1 cannot dump a TCP socket');
    agree(judge({ ...tcp, state: 'listening' }, { ...old, linux: '6.12.1' }), 'back');
    agree(judge({ ...tcp, state: 'listening' }, { ...old, criu: undefined }), 'back');
  });

  it('says how a program in Go does without Multipath TCP, and of others only that they must', () => {
    const remedyFor = (protocol: string): string => {
      const verdict = judge({ kind: 'socket', protocol }, alice);
      return verdict.verdict === 'does-not-come-back' ? verdict.remedy : '';
    };
    assert.match(remedyFor('MPTCP'), /GODEBUG=multipathtcp=0/);
    assert.equal(remedyFor('AF_VSOCK'), 'start the program without it');
  });

  it('offers a descriptor in the place of the other end of a pipe for a restore', () => {
    const remedyFor = (circumstances: Circumstances, use: 'read' | 'write'): string => {
      const verdict = judge({ ...pipe, holders, use, end: 'outside' }, circumstances);
      return verdict.verdict === 'does-not-come-back' ? verdict.remedy : '';
    };
    for (const circumstances of [root, alice]) {
      assert.match(remedyFor(circumstances, 'write'), /--stdout FILE .*--inherit-fd 'fd\[N\]:pipe:\[5\]'/);
      assert.match(remedyFor(circumstances, 'read'), /--stdin FILE/);
    }
  });
});
