import assert from 'node:assert/strict';
import type { Stats } from 'node:fs';
import { classify, type Surrounding, wantedLinks } from '../../../src/look/classify.ts';
import { type Descriptor, inTime, parseInfo } from '../../../src/look/descriptors.ts';
import type { Holders } from '../../../src/look/holders.ts';
import { parseMappings } from '../../../src/look/mappings.ts';
import { parseInternetSockets, parseUnixSockets } from '../../../src/look/sockets.ts';
import type { Holder, Thing } from '../../../src/look/things.ts';

const read = 'flags:\t00\nmnt_id:\t9\n';
const write = 'flags:\t01\nmnt_id:\t9\n';

function descriptor(fd: number, link: string, info = write, stat?: Partial<Stats>): Descriptor {
  return {
    pid: 4,
    fd,
    link,
    info: parseInfo(info),
    ...(stat ? { stat: { ...regular, ...stat } as unknown as Stats } : {}),
  };
}

const regular = {
  isFile: () => true,
  isFIFO: () => false,
  isCharacterDevice: () => false,
  isBlockDevice: () => false,
  nlink: 1,
  size: 5,
};

function around(more: Partial<Surrounding> = {}, held: Record<string, Holder[]> = {}): Surrounding {
  return {
    pids: new Set([4]),
    unix: new Map(),
    internet: new Map(),
    holders: {
      of: (link) => held[link] ?? [],
      ofTerminal: (number) => held[`tty-index:${number}`] ?? [],
      isInside: () => false,
      isPartial: true,
    },
    stopped: false,
    mountsOf: () => new Set(['9']),
    terminalOf: () => undefined,
    protocolOf: () => undefined,
    writable: () => true,
    openable: () => true,
    isWhole: () => undefined,
    socketFile: () => 'there',
    ...more,
  };
}

const things = (descriptors: Descriptor[], where = around()): Thing[] =>
  classify(descriptors, where).map(({ thing }) => thing);
const tee = { pid: 7, name: 'tee' };

describe('what the descriptors of a tree are', () => {
  it('a pipe: in the tree if the tree has both ends, else of those that have its other end', () => {
    const both = [descriptor(1, 'pipe:[5]'), descriptor(2, 'pipe:[5]', read)];
    assert.deepEqual(
      things(both).map((thing) => thing.kind === 'pipe' && thing.end),
      ['inside', 'inside'],
    );
    const [half] = things([both[0]!], around({}, { 'pipe:[5]': [tee] }));
    assert.deepEqual(half, { kind: 'pipe', use: 'write', inode: 5, end: 'outside', holders: [tee] });
    const ends = (isPartial: boolean) =>
      things([both[0]!], around({ holders: { ...around().holders, isPartial } })).map(
        (thing) => thing.kind === 'pipe' && thing.end,
      );
    assert.deepEqual([ends(true), ends(false)], [['unseen'], ['nobody']]);
    const alone = things([both[0]!], around({ isWhole: (_, writes) => !writes }));
    assert.deepEqual(alone[0]?.kind === 'pipe' && alone[0].end, 'nobody');
  });

  it('a pipe or a socket whose other end a later process of the tree has: in the tree, whoever else has it', () => {
    const unix = new Map([[5, { type: 'stream', peer: 6, name: '', file: 0, isBound: false }] as const]);
    const asked: [string, string | undefined][] = [];
    const isInside: Holders['isInside'] = (link, use) => asked.push([link, use]) > 0;
    const holders = { ...around({}, { 'pipe:[5]': [tee] }).holders, isInside };
    const found = things([descriptor(1, 'pipe:[5]'), descriptor(2, 'socket:[5]')], around({ unix, holders }));
    assert.deepEqual(
      found.map((thing) => 'end' in thing && thing.end),
      ['inside', 'inside'],
    );
    assert.deepEqual(asked, [
      ['pipe:[5]', 'read'],
      ['socket:[6]', undefined],
    ]);
  });

  it('a file that the looking user may not open by its name, for the use that a descriptor has', () => {
    const where = around({ openable: (_, use) => use === 'read' });
    assert.deepEqual(things([descriptor(1, '/f')], where), [
      { kind: 'not-openable', path: '/f', use: 'write' },
    ]);
    const others = [descriptor(1, '/f', read), descriptor(1, '/f', 'flags:\t010000001\nmnt_id:\t9\n')];
    assert.deepEqual(
      others.map((each) => things([each], where)[0]?.kind),
      ['file', 'file'],
    );
  });

  it('a thing that several descriptors share is found once', () => {
    assert.deepEqual(
      classify([descriptor(1, '/f'), descriptor(2, '/f')], around()).map(({ fds }) => fds),
      [[1, 2]],
    );
  });

  it('a terminal: its master is in the tree, outside or unseen; two outside are counted', () => {
    const master = descriptor(3, '/dev/ptmx', `${write}tty-index:\t1\n`);
    const [first, second] = [descriptor(0, '/dev/pts/1'), descriptor(1, '/dev/pts/2')];
    const ends = (descriptors: Descriptor[]) =>
      things(descriptors, around({}, { 'tty-index:2': [tee] })).flatMap((thing) =>
        thing.kind === 'terminal' ? [[thing.end, thing.outside]] : [],
      );
    assert.deepEqual(ends([master, first, second]), [
      ['inside', 1],
      ['outside', 1],
    ]);
    assert.deepEqual(ends([first, second]), [
      ['unseen', 2],
      ['outside', 2],
    ]);
    assert.deepEqual(ends([descriptor(0, '/dev/pts/1 (deleted)')]), [['nobody', 1]]);
  });

  it('/dev/tty is the controlling terminal', () => {
    const [thing] = things(
      [descriptor(0, '/dev/tty')],
      around({ terminalOf: () => 6 }, { 'tty-index:6': [tee] }),
    );
    assert.ok(thing?.kind === 'terminal' && thing.end === 'outside');
  });

  it('a Unix socket: its peer is in the tree, outside, or absent', () => {
    const unix = parseUnixSockets('5 1 1 6 0 \n6 1 1 5 9 /run/s\n8 2 7 0 0 @x y\n');
    const ends = (...inodes: number[]) =>
      things(
        inodes.map((inode) => descriptor(inode, `socket:[${inode}]`)),
        around({ unix }, { 'socket:[6]': [tee] }),
      ).map((thing) => thing.kind === 'unix' && [thing.type, thing.end, thing.peer]);
    assert.deepEqual(ends(5, 6), [
      ['stream', 'inside', '/run/s'],
      ['stream', 'inside', ''],
    ]);
    assert.deepEqual(ends(5), [['stream', 'outside', '/run/s']]);
    assert.deepEqual(ends(8), [['datagram', 'nobody', '']]);
    assert.equal(unix.get(8)?.name, '@x y');
  });

  it('a Unix socket has its file if a restore binds it: not if it is connected, except for datagrams', () => {
    const unix = parseUnixSockets(
      '1 1 10 0 9 /s\n2 1 1 5 9 /s\n3 5 1 5 9 /s\n4 2 1 5 9 /s\n5 1 7 0 0 @s\n6 5 7 0 9 s\n',
    );
    const files = things(
      [1, 2, 3, 4, 5, 6].map((inode) => descriptor(inode, `socket:[${inode}]`)),
      around({ unix, socketFile: () => 'gone' }),
    ).map((thing) => thing.kind === 'unix' && thing.file?.name);
    // CRIU itself refuses a relative name that leads nowhere.
    assert.deepEqual(files, ['/s', undefined, undefined, '/s', undefined, undefined]);
  });

  it('an internet socket has its state and addresses from the tables of /proc, and without an address from its protocol', () => {
    const text =
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n' +
      '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0\n' +
      '   1: 0100007F:1F90 0100007F:C001 01 00000000:00000007 00:00000000 00000000  1000        0 12 1 0 20 4 30 10 -1\n' +
      '   3: 0100007F:1F92 00000000:00000000 0A 00000000:0000000B 00:00000000 00000000  1000        0 15 1 0 100 0 0 10 0\n' +
      '   2: 0100007F:1F91 0100007F:C002 02 00000000:00000000 00:00000000 00000000  1000        0 13 1 0 20 4 30 10 -1\n';
    const internet = parseInternetSockets(text, 'TCP');
    assert.deepEqual(
      [...internet.values()].map(({ state, local, remote, waiting }) => [state, local, remote, waiting]),
      [
        ['listening', '127.0.0.1:8080', '', undefined],
        ['connected', '127.0.0.1:8080', '127.0.0.1:49153', undefined],
        ['listening', '127.0.0.1:8082', '', 11],
        ['connecting', '127.0.0.1:8081', '127.0.0.1:49154', undefined],
      ],
    );
    const both = new Map([
      [12, internet.get(12)!],
      [16, { protocol: 'TCP', state: 'connected', local: '[::ffff:7f00:1]:49153', remote: '127.0.0.1:8080' }],
    ] as const);
    const inside = (...inodes: number[]) =>
      things(
        inodes.map((inode) => descriptor(inode, `socket:[${inode}]`)),
        around({ internet: both }),
      ).map((thing) => thing.kind === 'internet' && thing.isInside);
    assert.deepEqual([inside(12, 16), inside(12)], [[true, true], [undefined]]);
    const six = '\n 0: 00000000000000000000000001000000:0016 0:0 0A 0 0 0 0 0 14 1\n';
    assert.equal(parseInternetSockets(six, 'TCP').get(14)?.local, '[::1]:22');
    assert.deepEqual(things([descriptor(3, 'socket:[20]')], around({ protocolOf: () => 'TCPv6' })), [
      { kind: 'internet', protocol: 'TCP', state: 'none', local: '', remote: '' },
    ]);
    assert.deepEqual(things([descriptor(3, 'socket:[20]')], around({ protocolOf: () => 'ALG' })), [
      { kind: 'socket', protocol: 'ALG' },
    ]);
  });

  it('kinds of anonymous files: inotify with its watches, a pidfd with its process, others by name', () => {
    const inotify = `${read}inotify wd:1 ino:2\ninotify wd:2 ino:3\n`;
    assert.deepEqual(
      things([
        descriptor(3, 'anon_inode:inotify', inotify),
        descriptor(4, 'anon_inode:[pidfd]', `${read}Pid:\t4\n`),
        descriptor(5, 'anon_inode:[io_uring]'),
        descriptor(6, 'pidfd:[77]', `${read}Pid:\t1\n`),
      ]),
      [
        { kind: 'watches', count: 2 },
        { kind: 'pidfd', target: 4, inside: true },
        { kind: 'anonymous', name: 'io_uring' },
        { kind: 'pidfd', target: 1, inside: false },
      ],
    );
  });

  it('paths: deleted, on a mount that is not seen, locked, a device, a memfd', () => {
    const kinds = (link: string, info = write, stat: Partial<Stats> = {}): string[] =>
      things([descriptor(3, link, info, stat)]).map((thing) => thing.kind);
    assert.deepEqual(kinds('/f (deleted)', write, { nlink: 0 }), ['deleted']);
    assert.deepEqual(kinds('/f', 'flags:\t01\nmnt_id:\t10\n'), ['no-mount']);
    assert.deepEqual(kinds('/f', `${write}lock:\t1: FLOCK  ADVISORY  WRITE 4 00:1:2 0 EOF\n`), [
      'file',
      'lock',
    ]);
    assert.deepEqual(kinds('/memfd:x (deleted)', 'flags:\t02\nmnt_id:\t1\n'), ['file']);
    assert.deepEqual(kinds('/p', write, { isFile: () => false, isFIFO: () => true }), ['fifo']);
    const [device] = things([
      descriptor(3, '/dev/fuse', write, { isFile: () => false, isCharacterDevice: () => true, rdev: 0xae5 }),
    ]);
    assert.deepEqual(device, { kind: 'device', path: '/dev/fuse', major: 10, minor: 229 });
  });

  it('a file that others write, too, unless the process writes at its end', () => {
    const writers = (info: string) =>
      things([descriptor(3, '/log', info, {})], around({}, { '/log': [tee] })).map(
        (thing) => thing.kind === 'file' && thing.writers.length,
      );
    assert.deepEqual([writers(write), writers('flags:\t02001\nmnt_id:\t9\n')], [[1], [0]]);
  });

  it('only ends that are outside are looked for', () => {
    const unix = parseUnixSockets('5 1 1 6 0 \n8 2 7 0 0 \n');
    const wanted = wantedLinks(
      [
        descriptor(1, 'pipe:[1]'),
        descriptor(2, 'pipe:[2]'),
        descriptor(3, 'pipe:[2]', read),
        descriptor(4, 'socket:[5]'),
        descriptor(5, 'socket:[8]'),
        descriptor(6, '/dev/pts/3'),
        descriptor(7, '/dev/null', write, { isFile: () => false }),
      ],
      unix,
      () => undefined,
    );
    assert.deepEqual([...wanted], ['pipe:[1]', 'socket:[6]', 'tty-index:3']);
  });
});

describe('what a process has mapped', () => {
  const parse = (line: string): Thing[] => parseMappings(`${line}\n`, () => false);

  it('deleted files with the end of their largest mapping, System V memory and devices', () => {
    assert.deepEqual(parse('1000-3000 r--p 00001000 08:01 5 /lib/x.so (deleted)'), [
      { kind: 'deleted', path: '/lib/x.so', size: 0x3000, links: 0, writable: false, mapped: true },
    ]);
    const [other] = parseMappings(
      '1000-2000 rw-s 00000000 00:01 7 /dev/shm/sem.x (deleted)\n',
      () => true,
      () => true,
      (path, inode) => path === '/dev/shm/sem.x' && inode === 7,
    );
    assert.ok(other?.kind === 'deleted' && other.links === 1);
    assert.deepEqual(parse('1000-3000 rw-s 00000000 00:01 5 /SYSV0000002a (deleted)'), [
      { kind: 'system-v-memory', key: '0000002a' },
    ]);
    assert.deepEqual(parse('1000-3000 rw-s 00000000 00:05 5 /dev/nvidia0'), [
      { kind: 'mapped-device', path: '/dev/nvidia0' },
    ]);
  });

  for (const path of ['/lib/x.so', '/memfd:x (deleted)', '/dev/zero (deleted)', '/dev/shm/x', '[heap]', '']) {
    it(`${path || 'anonymous memory'} is nothing of note`, () => {
      assert.deepEqual(parse(`1000-3000 r--p 00000000 08:01 5 ${path}`), []);
    });
  }
});

describe('a file system that does not answer', () => {
  it('holds up nothing: what answers in time is there', async () => {
    const never = new Promise<number>(() => {});
    assert.deepEqual(await inTime([Promise.resolve(1), never, Promise.reject(new Error('no'))]), [
      1,
      undefined,
      undefined,
    ]);
  });
});
