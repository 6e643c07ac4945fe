import assert from 'node:assert/strict';
import {
  type FileImages,
  type FileNow,
  judgeFile,
  type WrittenFile,
  writtenFiles,
} from '../../../src/cli/files/written-files.ts';
import { fileOf, magic } from '../../../src/cli/terminal/image-file.ts';
import { writeFields } from '../../../src/protocol/fields.ts';

function message(fields: Readonly<Record<number, number | Uint8Array>>): Uint8Array {
  return writeFields(Object.entries(fields).map(([number, value]) => ({ number: Number(number), value })));
}

const [readOnly, writeOnly, both, append] = [0, 1, 2, 0o2000];

function regular(
  id: number,
  path: string,
  flags: number,
  more: { size?: number; pos?: number; external?: number },
): Uint8Array {
  const { size, pos = 0, external } = more;
  return message({
    1: 1,
    2: id,
    3: message({
      1: id,
      2: flags,
      3: pos,
      6: Buffer.from(path),
      ...(size === undefined ? {} : { 8: size }),
      ...(external === undefined ? {} : { 9: external }),
    }),
  });
}

function images(
  files: readonly Uint8Array[],
  open: readonly number[],
  remapped: readonly number[] = [],
): FileImages {
  return {
    files: fileOf(files, magic.files),
    fdinfo: [
      fileOf(
        open.map((id) => message({ 1: id, 4: id })),
        magic.fdinfo,
      ),
    ],
    remaps:
      remapped.length > 0
        ? fileOf(
            remapped.map((id) => message({ 1: id, 2: 9 })),
            magic.remaps,
          )
        : undefined,
  };
}

const size = 100;

describe('the files that a tree writes', () => {
  const rows: readonly [string, Uint8Array, Omit<WrittenFile, 'path'> | undefined][] = [
    [
      'one that it writes at its end',
      regular(1, '/f', writeOnly, { size, pos: size }),
      { size, appends: true },
    ],
    ['one opened for appending', regular(1, '/f', both + append, { size }), { size, appends: true }],
    ['one that it writes anywhere', regular(1, '/f', both, { size, pos: 7 }), { size, appends: false }],
  ];
  for (const [what, file, expected] of rows) {
    it(`are: ${what}`, () => {
      assert.deepEqual(writtenFiles(images([file], [1])), [{ path: '/f', ...expected }]);
    });
  }

  it('are none that it only reads, that are external, deleted, or of any size, or that no descriptor leads to', () => {
    const files = [
      regular(1, '/read', readOnly, { size }),
      regular(2, '/external', writeOnly, { size, external: 1 }),
      regular(3, '/deleted', writeOnly, { size }),
      regular(4, '/log', writeOnly, {}),
      regular(5, '/mapped', writeOnly, { size }),
    ];
    assert.deepEqual(writtenFiles(images(files, [1, 2, 3, 4], [3])), []);
  });

  it('are written at their end only if all their descriptors do so', () => {
    const files = [
      regular(1, '/f', writeOnly, { size, pos: size }),
      regular(2, '/f', both, { size, pos: 3 }),
    ];
    assert.deepEqual(writtenFiles(images(files, [1, 2])), [{ path: '/f', size, appends: false }]);
  });
});

describe('a file of another size than at the dump', () => {
  const now: FileNow = {
    size: 130,
    isRegular: true,
    isElsewhere: false,
    isOwn: true,
    mode: 0o100644,
    links: 1,
    isWritten: false,
  };
  const rows: readonly [string, Partial<FileNow>, RegExp][] = [
    ['is shorter', { size: 99 }, /has 99 bytes, and had 100 when it was dumped; the bytes that it lacks/],
    ['belongs to somebody else', { isOwn: false }, /has 130 bytes, and had 100 .*belongs to somebody else/],
    ['can be written by a group', { mode: 0o100664 }, /others can write it \(mode 664\)/],
    ['can be written by all', { mode: 0o100646 }, /others can write it/],
    ['is reached through a link', { isElsewhere: true }, /through a link/],
    ['has two names', { links: 2 }, /hard link/],
    ['is no regular file', { isRegular: false }, /no regular file/],
    ['is open for writing', { isWritten: true }, /a process has it open for writing/],
  ];
  for (const [what, differs, why] of rows) {
    it(`is not put back if it ${what}`, () => {
      const judged = judgeFile({ size, appends: true }, { ...now, ...differs });
      assert.equal(judged.is, 'refused');
      assert.match((judged as Extract<typeof judged, { is: 'refused' }>).why, why);
    });
  }

  it('is put back if it has grown at its end, and is its user’s alone', () => {
    assert.deepEqual(judgeFile({ size, appends: true }, now), { is: 'grown' });
    assert.equal(judgeFile({ size, appends: false }, now).is, 'refused');
  });

  it('does not matter whose it is if it has the size that it had', () => {
    assert.deepEqual(judgeFile({ size, appends: false }, { ...now, size, isOwn: false, isWritten: true }), {
      is: 'as-it-was',
    });
  });
});
