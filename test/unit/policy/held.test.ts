import assert from 'node:assert/strict';
import { judgeHolding, rules, type Surroundings } from '../../../src/policy/held.ts';
import { anotherFile, type Holding, parseHoldings } from '../../../src/policy/holdings.ts';

const [EPERM, ENOENT, EACCES] = [1, 2, 13];
const [proc, ext4, tmpfs, fuse] = [0x9fa0, 0xef53, 0x01021994, 0x65735546];
const [alice, bob] = [1500, 1501];
const [engine, member, hers] = [10, 20, 30];

const where: Surroundings = {
  uid: alice,
  engine,
  members: new Set([member, 21]),
  namespaces: new Set(['net:[1]', 'pid:[2]']),
  procMount: 22,
};

const nothing: Holding = {
  pid: member,
  name: 'fd/3',
  access: 'rw',
  target: '',
  queued: 0,
  failure: 0,
  owner: undefined,
  mount: 0,
  magic: 0,
  fuseOwner: undefined,
  path: undefined,
  process: undefined,
};
const file: Holding = {
  ...nothing,
  target: '/home/alice/file',
  owner: alice,
  mount: 27,
  magic: ext4,
  path: 0,
};
const below = (pid: number, name: string, more: Partial<Holding> = {}): Holding => ({
  ...file,
  target: `/proc/${pid}${name}`,
  mount: where.procMount,
  magic: proc,
  process: EACCES,
  ...more,
});
const memory: Holding = { ...file, target: '/memfd:x (deleted)', mount: 1, magic: tmpfs, path: ENOENT };

describe('judgeHolding', () => {
  const may: [string, Holding][] = [
    ['a file that its owner could open alone', file],
    ['a file of another user’s that the owner could open', { ...file, owner: bob }],
    ['an O_PATH descriptor that the owner could have', { ...file, access: '' }],
    ['a pipe', { ...nothing, target: 'pipe:[7]' }],
    ['a socket with nothing in its queue', { ...nothing, target: 'socket:[7]' }],
    ['an epoll set', { ...nothing, target: 'anon_inode:[eventpoll]' }],
    ['an inotify instance', { ...nothing, target: 'anon_inode:inotify' }],
    ['a pidfd', { ...nothing, target: 'anon_inode:[pidfd]' }],
    ['a namespace of the owner', { ...nothing, target: 'net:[1]' }],
    ['a memfd of the owner’s', memory],
    ['a deleted file of the owner’s', { ...memory, target: '/home/alice/x (deleted)', magic: ext4 }],
    ['an aio ring of the owner’s', { ...memory, target: '/[aio] (deleted)', magic: 0xa10a10a1 }],
    ['memory of a process of the tree', below(member, '/mem', { process: 0 })],
    ['a file of a process of the tree that may not be opened any more', below(21, '/mem', { path: EACCES })],
    ['memory of another process of the caller’s', below(hers, '/mem', { process: 0 })],
    ['the status of another user’s process', below(1, '/status', { access: 'r' })],
    ['the status of a thread of another user’s', below(1, '/task/7/stat', { access: 'r' })],
    ['the status of a process that has ended', below(1, '/stat', { access: 'r', path: ENOENT })],
    ['the directory of another user’s process', below(1, '', { access: 'r' })],
    ['the directory of a process that has ended', below(1, ' (deleted)', { access: 'r', path: ENOENT })],
    [
      'a file of /proc that belongs to no process',
      { ...below(1, ''), target: '/proc/meminfo', process: undefined },
    ],
    ['such a file on a mount of its own', { ...below(1, ''), target: '/proc/sys/kernel/ostype', mount: 23 }],
    [
      'a file on the owner’s own FUSE file system, which root may not look into',
      { ...file, owner: undefined, magic: fuse, fuseOwner: alice, failure: EACCES, path: undefined },
    ],
    [
      'a file on a FUSE file system for all users that the owner could open',
      { ...file, magic: fuse, fuseOwner: 0 },
    ],
  ];
  for (const [what, holding] of may) {
    it(`allows ${what}`, () => assert.equal(judgeHolding(holding, where), undefined));
  }

  const mustNot: [string, Holding, RegExp][] = [
    [
      'a file that its owner may not write',
      { ...file, path: EACCES },
      /could not open for writing .*\(EACCES\)/,
    ],
    [
      'a file that its owner may not read',
      { ...file, access: 'r', path: EACCES },
      /could not open for reading/,
    ],
    ['a program that its owner may not execute', { ...file, access: 'x', path: EACCES }, /could not use/],
    ['a file that its owner could not find', { ...file, access: '', path: ENOENT }, /could not find/],
    ['another file than its path leads to', { ...file, path: anotherFile }, /not what this path leads to/],
    ['a file that was not tried as the caller', { ...file, path: undefined }, /not what this path leads to/],
    ['a file that cannot be looked at', { ...nothing, failure: EPERM }, /cannot be looked at \(EPERM\)/],
    [
      'a file that cannot be looked at, in spite of its other fields',
      { ...file, failure: EACCES },
      /cannot be looked at/,
    ],
    [
      'a socket with descriptors in its queue',
      { ...nothing, target: 'socket:[7]', queued: 2 },
      /has 2 descriptors in its queue/,
    ],
    ['a ring that holds files', { ...nothing, target: 'anon_inode:[io_uring]' }, /is restored with/],
    ['a namespace of other users', { ...nothing, target: 'net:[9]' }, /is restored with/],
    ['a file without any name', nothing, /is restored with/],
    ['a segment or memfd of another user’s', { ...memory, owner: bob }, /not yours but uid 1501’s/],
    [
      'a segment of another user’s, only to read',
      { ...memory, owner: bob, access: 'r' },
      /not yours but uid 1501’s/,
    ],
    ['shared memory without a name', { ...memory, target: '/dev/zero (deleted)' }, /was not restored/],
    ['a file of the engine’s in /proc', below(engine, '/mem', { process: 0 }), /which is the engine’s/],
    [
      'anything of the engine’s in /proc',
      below(engine, '/stat', { access: 'r', process: 0 }),
      /the engine’s/,
    ],
    ['the directory of the engine', below(engine, '', { access: 'r', process: 0 }), /the engine’s/],
    [
      'memory of another user’s process',
      below(1, '/mem'),
      /belongs to a process that you could not look into/,
    ],
    [
      'mappings of another user’s process, whose mode lets all open them',
      below(1, '/maps', { access: 'r' }),
      /belongs/,
    ],
    ['a list of descriptors of another user’s process', below(1, '/fd', { access: 'r' }), /belongs/],
    ['a file of a thread of another user’s', below(1, '/task/7/mem'), /belongs/],
    ['a file that all may read, opened for writing', below(1, '/comm'), /belongs/],
    [
      'memory of a process that the owner may look into but not open',
      below(hers, '/mem', { process: 0, path: EACCES }),
      /belongs/,
    ],
    [
      'memory of a dead process, whose pid a process of the tree has now',
      below(member, '/mem', { path: anotherFile }),
      /ended/,
    ],
    ['memory of a dead process', below(member, '/mem', { path: ENOENT, process: ENOENT }), /ended/],
    [
      'a process by another mount of /proc',
      { ...below(member, '/mem'), mount: 23 },
      /who knows what pid namespace/,
    ],
    [
      'a process by another name of its directory',
      { ...below(member, ''), target: '/mem', mount: 99, path: ENOENT },
      /could not open/,
    ],
    [
      'a file of /proc whose name ends as if it were deleted',
      { ...below(1, ''), target: '/mem (deleted)', mount: 99, path: ENOENT },
      /no path’s any more/,
    ],
    [
      'a file on another user’s FUSE file system, which root may not look into',
      { ...file, owner: undefined, magic: fuse, fuseOwner: bob, failure: EACCES, path: undefined },
      /cannot be looked at/,
    ],
  ];
  for (const [what, holding, reason] of mustNot) {
    it(`refuses ${what}`, () => assert.match(judgeHolding(holding, where) ?? 'may', reason));
  }

  it('names in a refusal the use that the process makes of the file', () => {
    const told = (name: string): string => judgeHolding({ ...file, name, path: EACCES }, where)!;
    assert.match(
      told('fd/3'),
      /^holds \/home\/alice\/file \(descriptor 3 of process 20\), which you could not/,
    );
    assert.match(told('map_files/1-2'), /^maps \/home\/alice\/file \(process 20\), which/);
    assert.match(told('cwd'), /^has the working directory \/home\/alice\/file \(process 20\), which/);
    assert.match(told('exe'), /^has the program \/home\/alice\/file \(process 20\), which/);
    const unread = (name: string) => judgeHolding({ ...nothing, name, failure: ENOENT }, where)!;
    assert.equal(unread('fd'), 'has descriptors (process 20), which cannot be looked at (ENOENT)');
    assert.equal(unread('map_files'), 'has mappings (process 20), which cannot be looked at (ENOENT)');
    assert.equal(unread('task'), 'has threads (process 20), which cannot be looked at (ENOENT)');
  });

  it('prints a path in one line of visible characters, with a limit', () => {
    const target = `/ü\n\u001b[2J${'x'.repeat(300)}`;
    const bytes = Buffer.from(target).toString('latin1');
    const told = judgeHolding({ ...file, target: bytes, path: EACCES }, where)!;
    assert.match(told, /^holds \/ü\?\?\[2Jx+… \(descriptor/);
    assert.ok(told.length < 350);
  });

  it('has no rule that an earlier rule makes useless', () => {
    const all = [...may.map(([, holding]) => holding), ...mustNot.map(([, holding]) => holding)];
    const used = new Set(all.map((holding) => rules.findIndex(({ applies }) => applies(holding, where))));
    assert.deepEqual(
      rules.filter((_rule, at) => !used.has(at)).map(({ of }) => of),
      [],
    );
  });
});

describe('parseHoldings', () => {
  const entry = ['20', 'fd/3', 'rw', '/a\nb', '0', '0', '1500', '27', '61267', '', '-1', ''];

  it('reads one entry after the other', () => {
    const { procMount, each } = parseHoldings(`${['22', ...entry, ...entry].join('\0')}\0`);
    assert.equal(procMount, 22);
    const [first, ...more] = each;
    assert.deepEqual(first, { ...file, target: '/a\nb', path: anotherFile, magic: 61267 });
    assert.equal(more.length, 1);
  });

  it('throws if the text ends early', () => {
    const text = `${['22', ...entry].join('\0')}\0`;
    for (const end of [text.length - 1, text.length - 3, 5]) {
      assert.throws(() => [...parseHoldings(text.slice(0, end)).each], /ends in the middle/);
    }
    assert.throws(() => parseHoldings(''), /ends/);
  });
});
