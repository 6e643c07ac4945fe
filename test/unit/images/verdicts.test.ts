import assert from 'node:assert/strict';
import type { FileHere, Thing } from '../../../src/images/things.ts';
import { type Circumstances, judge } from '../../../src/images/verdicts.ts';

const alice: Circumstances = { uid: 1000, gid: 1000, groups: [1000, 27] };
const root: Circumstances = { uid: 0, gid: 0, groups: [0] };

const dumped = { size: 10, mode: 0o100755, buildId: 'aa' };
const there = { is: 'there', ...dumped } as const;
const file = (here: FileHere, was: Partial<typeof dumped> = {}): Thing => ({
  kind: 'file',
  path: '/f',
  dumped: { ...dumped, ...was },
  here,
});
const pages = { kind: 'pages', file: 'pages-1.img', bytes: 8192, wanted: 8192, strange: false } as const;
const inParents = {
  kind: 'pages in parents',
  file: 'pagemap-7.img',
  directory: 'd',
  missing: 0,
  level: 1,
} as const;
const number = { kind: 'number', number: 7, of: 'process', by: { pid: 7, name: 'x', user: 'bob' } } as const;
const fault = { kind: 'fault', file: 'core-7.img', offset: 8, why: 'is cut off' } as const;
const credentials = { kind: 'credentials', pid: 7, uids: [1000], gids: [1000], groups: [27] } as const;
const limit = { kind: 'limit', pid: 7, name: 'RLIMIT_NOFILE', dumped: 1024, here: 1024 } as const;

type Expected = RegExp | 'restores' | `with ${string}`;

/** The verdict's first letter, `N` for never or `?`, and its sentences; the second expectation is root's, where it differs. */
const rows: readonly [title: string, thing: Thing, forAlice: Expected, forRoot?: Expected][] = [
  [
    'an absent inventory',
    { kind: 'absent', file: 'inventory.img', role: 'inventory' },
    /^N inventory\.img is missing: .*did not finish/,
  ],
  [
    'an absent image that CRIU would take for empty',
    { kind: 'absent', file: 'fdinfo-2.img', role: 'descriptors' },
    /^N .*would have no open files/,
  ],
  ['a broken image', { ...fault, is: 'broken' }, /^N core-7\.img at byte 8 is cut off; copy/],
  ['an image that is not read here', { ...fault, is: 'unread' }, /^\? core-7\.img/],
  ['pages of the right size', pages, 'restores'],
  ['more pages than the pagemap says', { ...pages, bytes: 9000 }, 'restores'],
  ['a page too few', { ...pages, bytes: 4096 }, /^N pages-1\.img has 4096 bytes of 8192/],
  ['pages in an unknown layout', { ...pages, bytes: 1, strange: true }, /^\? /],
  ['pages that the parent has', inParents, 'restores'],
  ['pages that the parent lacks', { ...inParents, missing: 3 }, /^N 3 pages of pagemap-7\.img are not in/],
  ['pages that the parent’s parent lacks', { ...inParents, missing: 3, level: 2 }, /^\? /],
  ['a tree', { kind: 'tree', tasks: 1, cut: false }, 'restores'],
  ['a tree without processes', { kind: 'tree', tasks: 0, cut: false }, /^N there is no process/],
  ['a tree beyond the limit', { kind: 'tree', tasks: 20_000, cut: true }, /^\? /],
  [
    'a descriptor of no file',
    { kind: 'unknown file', file: 'fdinfo-2.img', id: 9 },
    /^N fdinfo-2\.img names the open file 9/,
  ],
  ['images of this version', { kind: 'version', version: 2 }, 'restores'],
  ['images of a later version', { kind: 'version', version: 3 }, /^\? the images have version 3/],
  ['the same architecture', { kind: 'architecture', dumped: 'x86_64', here: 'x86_64' }, 'restores'],
  [
    'another architecture',
    { kind: 'architecture', dumped: 'aarch64', here: 'x86_64' },
    /^N it is a dump of aarch64/,
  ],
  ['namespaces', { kind: 'namespaces', names: ['mnt', 'pid'] }, /^\? .*mnt, pid/],
  ['the same file', file(there), 'restores'],
  ['a missing file', file({ is: 'absent' }), /^N \/f is missing/],
  [
    'a missing directory',
    file({ is: 'absent' }, { mode: 0o40755 }),
    /^N the directory \/f is missing; make it again/,
  ],
  ['a file that may not be written', file({ is: 'closed', use: 'write' }), /^N you may not write \/f/],
  ['a file that cannot be looked at', file({ is: 'unseen', why: 'EIO' }), /^\? .*EIO/],
  [
    'another mode',
    file({ ...there, mode: 0o100700 }),
    /^N \/f has mode 0700, and had 0755; .*--skip-file-rwx-check/,
  ],
  ['another kind of file', file({ ...there, mode: 0o40755 }), /^N \/f is another kind of file/],
  [
    'a file that has grown',
    {
      ...file({ ...there, size: 20, buildId: undefined }),
      dumped: { ...dumped, buildId: undefined },
    } as Thing,
    /^N \/f has 20 bytes, and had 10 .*truncate -s 10/,
  ],
  ['a program of another size', file({ ...there, size: 20 }), /^N .*put back the file/],
  ['another build of the same size', file({ ...there, buildId: 'bb' }), /^N \/f is another build/],
  ['a build-id that cannot be read here, as for CRIU', file({ ...there, buildId: undefined }), 'restores'],
  [
    'a size that was not kept, of a log',
    {
      kind: 'file',
      path: '/f',
      dumped: { size: undefined, mode: 0o100755, buildId: undefined },
      here: { ...there, size: 99 },
    },
    'restores',
  ],
  ['a free pid', { ...number, usedAs: undefined }, 'restores'],
  ['a pid of the service, which it gives up', { ...number, usedAs: 'service' }, 'restores'],
  ['a pid in use', { ...number, usedAs: 'process' }, /^N pid 7, .* process 7 \(x\) of bob/],
  ['a pid of a thread', { ...number, usedAs: 'thread' }, /^N pid 7, .* a thread of process 7/],
  ['a pid that numbers a session', { ...number, usedAs: 'session' }, /^N pid 7, .* the session of process 7/],
  ['a free port', { kind: 'port', protocol: 'TCP', address: '0.0.0.0:80', user: undefined }, 'restores'],
  [
    'a port in use',
    { kind: 'port', protocol: 'TCP', address: '0.0.0.0:80', user: 'bob' },
    /^N TCP 0\.0\.0\.0:80 is in use by a program of bob/,
  ],
  ['a connection', { kind: 'connection', local: 'a', remote: 'b' }, /^\? .*--tcp-established/],
  ['a terminal of the tree', { kind: 'terminal', name: '/dev/pts/1', outside: false }, 'restores'],
  ['a terminal from outside', { kind: 'terminal', name: '/dev/pts/1', outside: true }, 'with --shell-job'],
  ['a thing from outside', { kind: 'external', name: 'x' }, /^\? .*--inherit-fd/],
  ['my own credentials', credentials, 'restores'],
  ['another user', { ...credentials, uids: [1000, 0] }, /^N process 7 is of uid 0/, 'restores'],
  ['another group', { ...credentials, gids: [5, 5] }, /^N process 7 has gid 5/, 'restores'],
  [
    'a group less than I have',
    { ...credentials, groups: [] },
    /^N .*other supplementary groups than you \(27\)/,
    'restores',
  ],
  ['a group more than I have', { ...credentials, groups: [27, 4] }, /^N .*\(4\)/, 'restores'],
  ['a limit like mine', limit, 'restores'],
  [
    'a limit above mine',
    { ...limit, dumped: 2048 },
    /^N .*hard limit RLIMIT_NOFILE of 2048, and yours is 1024/,
    'restores',
  ],
  ['no limit, above mine', { ...limit, dumped: Number.POSITIVE_INFINITY }, /of infinity/, 'restores'],
];

describe('the verdict about a dump', () => {
  for (const [title, thing, forAlice, forRoot = forAlice] of rows) {
    it(`is right about ${title}`, () => {
      for (const [expected, who] of [
        [forAlice, alice],
        [forRoot, root],
      ] as const) {
        const verdict = judge(thing, who);
        const brief =
          verdict.verdict === 'restores'
            ? verdict.option === undefined
              ? 'restores'
              : `with ${verdict.option}`
            : `${verdict.verdict === 'does-not-restore' ? 'N' : '?'} ${verdict.why}; ${verdict.remedy}`;
        if (typeof expected === 'string') assert.equal(brief, expected);
        else assert.match(brief, expected);
      }
    });
  }
});
