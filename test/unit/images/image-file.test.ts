import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ImageDirectory } from '../../../src/images/image-directory.ts';
import { ImageError } from '../../../src/images/image-error.ts';
import { ImageFile, type ImageRecord, mostRecordBytes } from '../../../src/images/image-file.ts';
import { kinds } from '../../../src/images/kinds.ts';
import { mostLevels } from '../../../src/images/message.ts';
import {
  encode,
  type Fields,
  head,
  image,
  openBelow,
  record,
  sized,
  tag,
  varint,
  withFiles,
  word,
} from './support/encode.ts';

const task: Fields = { pid: 7, ppid: 1, pgid: 7, sid: 7, threads: [7, 8] };
const tasks = image('PSTREE', task, { ...task, pid: 9, ppid: 7, threads: [9] });

function readIn<T>(path: string, tell: (record: ImageRecord) => T): T[] {
  const directory = new ImageDirectory(path);
  let file: ImageFile | undefined;
  try {
    file = ImageFile.open(directory, 'some.img')!;
    const told: T[] = [];
    for (const each of file.records()) told.push(tell(each));
    return told;
  } finally {
    file?.close();
    directory.close();
  }
}

function read<T>(bytes: Uint8Array, tell: (record: ImageRecord) => T): T[] {
  return withFiles({ 'some.img': bytes }, (path) => readIn(path, tell));
}

const offsets = ({ offset, payload }: ImageRecord) => [offset, payload?.offset, payload?.bytes];

/** The fault of an image: its place and words. */
function faultOf(bytes: Uint8Array): string {
  return faultIn(() => read(bytes, () => undefined));
}

function faultIn(reading: () => unknown): string {
  try {
    reading();
  } catch (error) {
    assert.ok(error instanceof ImageError, String(error));
    assert.equal(error.file, 'some.img');
    return error.message;
  }
  return '';
}

describe('the reader of images', () => {
  it('reads records, with numbers, lists and texts', () => {
    assert.deepEqual(
      read(tasks, ({ message }) => [message.number('pid'), [...message.numbers('threads')]]),
      [
        [7, [7, 8]],
        [9, [9]],
      ],
    );
    const file: Fields = { id: 5, flags: 0, pos: 2n ** 63n, fown: {}, name: '/é', size: 2 ** 40, mnt_id: -1 };
    const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
    const [told] = read(image('FILES', { type: 'REG', id: 5, reg: { ...file, fown } }), ({ message }) => {
      const reg = message.message('reg')!;
      return [reg.text('name'), reg.bigint('pos'), reg.number('size'), reg.number('mnt_id'), reg.has('mode')];
    });
    assert.deepEqual(told, ['/é', 2n ** 63n, 2 ** 40, -1, false]);
  });

  it('reads a list in the packed spelling, too', () => {
    const { pid, ppid, pgid, sid } = task as Record<string, number>;
    const plain = encode('pstree_entry', { pid, ppid, pgid, sid } as Fields);
    const list = sized(Buffer.concat([varint(7), varint(300)]));
    const bytes = Buffer.concat([head('PSTREE'), record(Buffer.concat([plain, tag(5, 2), list]))]);
    assert.deepEqual(
      read(bytes, ({ message }) => [...message.numbers('threads')]),
      [[7, 300]],
    );
  });

  it('has a message for each kind, and each magic number once', () => {
    assert.equal(new Set(kinds.map(({ magic }) => magic)).size, kinds.length);
  });

  it('steps over raw bytes behind a record', () => {
    const data = image('PIPES_DATA', { pipe_id: 1, bytes: 3 }, Buffer.from('abc'), { pipe_id: 2, bytes: 0 });
    assert.deepEqual(read(data, offsets), [
      [8, 16, 3],
      [19, 27, 0],
    ]);
    const set = { key: 0, uid: 0, gid: 0, cuid: 0, cgid: 0, mode: 0, id: 0 };
    const semaphores = image('IPCNS_SEM', { desc: set, nsems: 5 }, Buffer.alloc(16), { desc: set, nsems: 0 });
    assert.equal(read(semaphores, offsets).length, 2);
    const message = record(encode('ipc_msg', { mtype: 1, msize: 9 }));
    const queue = image('IPCNS_MSG', { desc: set, qbytes: 9, qnum: 1 }, message, Buffer.alloc(16));
    assert.deepEqual(
      read(queue, ({ payload }) => payload?.bytes),
      [undefined, 9],
    );
  });

  it('reads ghost files whole and in chunks', () => {
    const ghost = { uid: 0, gid: 0, mode: 0o100600 };
    assert.deepEqual(
      read(image('GHOST_FILE', ghost, Buffer.from('content')), ({ payload }) => payload?.bytes),
      [7],
    );
    const chunk = record(encode('ghost_chunk_entry', { len: 4, off: 4096 }));
    const chunks = image('GHOST_FILE', { ...ghost, chunks: true, size: 8192 }, chunk, Buffer.from('data'));
    assert.deepEqual(
      read(chunks, ({ payload }) => payload?.bytes),
      [undefined, 4],
    );
  });

  it('reads what it can of an image that is cut at any byte, and names the place', () => {
    for (let length = 0; length < tasks.length; length++) {
      const fault = faultOf(tasks.subarray(0, length));
      // Behind the head and behind a record an image may end.
      const whole = [8, 8 + 4 + tasks.readUInt32LE(8)].includes(length);
      if (whole) assert.equal(fault, '');
      else assert.match(fault, /^some\.img at byte \d+: /, `${length} bytes`);
    }
  });

  it('allocates nothing for a size that the file does not have', () => {
    const lie = Buffer.concat([head('CORE'), word(0xffffffff), Buffer.alloc(100)]);
    assert.equal(
      faultOf(lie),
      'some.img at byte 8: announces a record of 4294967295 bytes, and 100 are left',
    );
    withFiles({ 'some.img': Buffer.concat([head('CORE'), word(1 << 30)]) }, (path) => {
      truncateSync(join(path, 'some.img'), 2 ** 33);
      assert.match(
        faultIn(() => readIn(path, () => undefined)),
        new RegExp(`record of ${1 << 30} bytes; more than ${mostRecordBytes} are not read`),
      );
    });
    const much = image('PIPES_DATA', { pipe_id: 1, bytes: 0xffffffff }, Buffer.from('abc'));
    assert.match(faultOf(much), /needs 4294967295 bytes behind a record, and 3 are left/);
  });

  it('refuses what CRIU’s decoder refuses', () => {
    const of = (...parts: Uint8Array[]) => Buffer.concat([head('PSTREE'), record(Buffer.concat(parts))]);
    const whole = encode('pstree_entry', task);
    assert.match(faultOf(of()), /at byte 12: begins a pstree_entry without its pid/);
    assert.match(faultOf(of(whole, tag(1, 2), sized(Buffer.from('x')))), /pstree_entry\.pid as bytes/);
    assert.match(faultOf(of(whole, tag(9, 3))), /wire type 3/);
    assert.match(faultOf(of(whole, Buffer.from([0x80]))), /a tag that is cut off/);
    assert.match(faultOf(of(whole, tag(5, 0), Buffer.alloc(11, 0xff))), /a value of more than 10 bytes/);
    assert.match(faultOf(of(whole, tag(77, 2), varint(50))), /needs 50 bytes where 0 are left/);
    assert.match(faultOf(Buffer.concat([word(1), word(2)])), /at byte 0: is no image that is known here/);
  });

  it('refuses messages in messages beyond a limit', () => {
    let directory: Fields = { dir_name: 'x', properties: [] };
    for (let level = 0; level < mostLevels; level++) directory = { dir_name: 'x', children: [directory] };
    const groups = image('CGROUP', { controllers: [{ cnames: ['cpu'], dirs: [directory] }] });
    assert.match(faultOf(groups), new RegExp(`is a message in more than ${mostLevels} others`));
  });

  it('refuses FIFOs, links, directories and devices in the place of a file, and waits for none', () => {
    const expectations: [make: (path: string) => void, expected: RegExp][] = [
      [(path) => execFileSync('mkfifo', [path]), /^some\.img is no regular file$/],
      [(path) => symlinkSync('/etc/passwd', path), /^some\.img is a link, which is not followed$/],
      [(path) => symlinkSync('nowhere', path), /^some\.img is a link, which is not followed$/],
      [(path) => mkdirSync(path), /^some\.img is no regular file$/],
    ];
    if (process.geteuid?.() === 0)
      expectations.push([
        (path) => execFileSync('mknod', [path, 'c', '1', '5']),
        /^some\.img is no regular file$/,
      ]);
    for (const [make, expected] of expectations) {
      withFiles({}, (path) => {
        make(join(path, 'some.img'));
        assert.match(
          faultIn(() => readIn(path, () => undefined)),
          expected,
        );
      });
    }
  });

  it('reads a single record where CRIU does, so that a file of holes has an end', () => {
    withFiles({ 'some.img': head('CGROUP') }, (path) => {
      truncateSync(join(path, 'some.img'), 2 ** 40);
      assert.equal(readIn(path, () => undefined).length, 1);
    });
    for (const { name, single, records } of kinds)
      assert.ok(
        single || records.every(({ required }) => required.length > 0),
        `${name} may have empty records`,
      );
  });

  it('leaves no file open after a fault', () => {
    for (let count = 0; count < 10; count++) faultOf(tasks.subarray(0, 20));
    assert.deepEqual(openBelow('images-'), []);
  });

  it('reads the files of the directory that it opened, also when the path leads elsewhere later', () => {
    withFiles({ 'some.img': tasks }, (path) => {
      const directory = new ImageDirectory(path);
      execFileSync('mv', [path, `${path}-moved`]);
      mkdirSync(path);
      writeFileSync(join(path, 'some.img'), 'another');
      const file = ImageFile.open(directory, 'some.img');
      assert.equal(file?.kind.name, 'PSTREE');
      file?.close();
      directory.close();
      execFileSync('rm', ['-r', `${path}-moved`]);
    });
  });
});
