import assert from 'node:assert/strict';
import { join } from 'node:path';
import { decode } from '../../../src/images/decode.ts';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { ImageFile } from '../../../src/images/image-file.ts';
import { decodeImage } from '../../../src/images/index.ts';
import { regular } from './support/dump.ts';
import { encode, type Fields, head, image, record, sized, tag, varint, withFiles } from './support/encode.ts';

function decoded(bytes: Uint8Array): { magic: string; entries: readonly unknown[] } {
  return withFiles({ 'some.img': bytes }, (path) => {
    const directory = new ImageDirectory(path);
    const file = ImageFile.open(directory, 'some.img')!;
    try {
      let text = '';
      decode(file, (piece) => {
        text += piece;
      });
      return JSON.parse(text);
    } finally {
      file.close();
      directory.close();
    }
  });
}

const task = { pid: 7, ppid: 1, pgid: 7, sid: 7 };

describe('an image as JSON', () => {
  it('has no character that a terminal takes for a command', () => {
    const name = 'a\x1b]\x9b\x7f\u202e';
    const bytes = image('FILES', { type: 'REG', id: 1, reg: { ...(regular(1, name).reg as Fields) } });
    withFiles({ 'files.img': bytes }, (path) => {
      const pieces: string[] = [];
      decodeImage(join(path, 'files.img'), (piece) => pieces.push(piece));
      assert.doesNotMatch(pieces.join('').replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
      assert.equal(JSON.parse(pieces.join('')).entries[0].reg.name, name);
    });
  });

  it('has the names that crit has', () => {
    assert.deepEqual(decoded(image('PSTREE', { ...task, threads: [7, 8] })), {
      magic: 'PSTREE',
      entries: [{ ...task, threads: [7, 8] }],
    });
    assert.deepEqual(decoded(image('FDINFO', { id: 1, flags: 0, type: 'REG', fd: 2 })).entries, [
      { id: 1, flags: 0, type: 'REG', fd: 2 },
    ]);
    assert.deepEqual(decoded(head('FILES')).entries, []);
  });

  it('has numbers beyond 2^53 as digits, negative numbers, bytes in base64, and enumerators without a name', () => {
    const entry = { tty_id: 1, data: Buffer.from([0, 255]) };
    assert.deepEqual(decoded(image('TTY_DATA', entry)).entries, [{ tty_id: 1, data: 'AP8=' }]);
    const [core] = decoded(
      image('TIMENS', {
        monotonic: { tv_sec: 2n ** 64n - 1n, tv_nsec: 5 },
        boottime: { tv_sec: 2 ** 40, tv_nsec: 0 },
      }),
    ).entries as [{ monotonic: object; boottime: object }];
    assert.deepEqual(core.monotonic, { tv_sec: '18446744073709551615', tv_nsec: 5 });
    assert.deepEqual(core.boottime, { tv_sec: 2 ** 40, tv_nsec: 0 });
    assert.deepEqual(decoded(image('FDINFO', { id: 1, flags: 0, type: 999, fd: 2 })).entries, [
      { id: 1, flags: 0, type: 999, fd: 2 },
    ]);
    const [vma] = decoded(
      image('VMAS', { start: 0, end: 0, pgoff: 0, shmid: 0, prot: 0, flags: 0, status: 0, fd: -1 }),
    ).entries as [{ fd: number }];
    assert.equal(vma.fd, -1);
  });

  it('shows fields that it does not know with their number and value', () => {
    const more = Buffer.concat([tag(99, 0), varint(5), tag(98, 2), sized(Buffer.from('hi'))]);
    const bytes = Buffer.concat([
      head('PSTREE'),
      record(Buffer.concat([encode('pstree_entry', task), more])),
    ]);
    assert.deepEqual(decoded(bytes).entries, [
      {
        ...task,
        unknownFields: [
          { number: 99, wireType: 0, value: 5 },
          { number: 98, wireType: 2, value: 'aGk=' },
        ],
      },
    ]);
  });

  it('joins a list that stands in pieces, and takes the last of a single field, as CRIU does', () => {
    const pieces = [{ threads: [7] }, { pid: 8 }, { threads: [9] }].map((each) =>
      encode('pstree_entry', each),
    );
    const bytes = Buffer.concat([
      head('PSTREE'),
      record(Buffer.concat([encode('pstree_entry', task), ...pieces])),
    ]);
    assert.deepEqual(decoded(bytes).entries, [{ ...task, pid: 8, threads: [7, 9] }]);
  });

  it('tells where raw bytes lie instead of printing them', () => {
    const bytes = image('PIPES_DATA', { pipe_id: 1, bytes: 3 }, Buffer.from('abc'));
    assert.deepEqual(decoded(bytes).entries, [{ pipe_id: 1, bytes: 3, payload: { offset: 16, bytes: 3 } }]);
  });
});
