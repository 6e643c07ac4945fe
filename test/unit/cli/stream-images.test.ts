import assert from 'node:assert/strict';
import {
  goesAlong,
  keyOf,
  lost,
  type Replaced,
  replaced,
  type Stream,
  type StreamImages,
} from '../../../src/cli/streams/stream-images.ts';
import { entriesOf, fileOf, magic } from '../../../src/cli/terminal/image-file.ts';
import { bytesOf, numberOf, readFields, writeFields } from '../../../src/protocol/fields.ts';

/** A message with these fields; a field that no released CRIU has is at its end. */
function message(fields: Readonly<Record<number, number | Uint8Array>>): Uint8Array {
  return writeFields([
    ...Object.entries(fields).map(([number, value]) => ({ number: Number(number), value })),
    { number: 1000, value: Buffer.from('newer') },
  ]);
}

const descriptor = (fd: number, id: number, type: number): Uint8Array =>
  message({ 1: id, 2: 0, 3: type, 4: fd });
const pipe = (id: number, pipeId: number, flags: number): Uint8Array =>
  message({ 1: 2, 2: id, 18: message({ 1: id, 2: pipeId, 3: flags }) });
const regular = (id: number, flags: number): Uint8Array =>
  message({ 1: 1, 2: id, 3: message({ 1: id, 2: flags, 3: 0, 6: Buffer.from('/srv/file') }) });
const socket = (id: number, inode: number, peer: number, flags = 0): Uint8Array =>
  message({ 1: 5, 2: id, 16: message({ 1: id, 2: inode, 6: flags, 8: peer }) });
const terminal = (id: number, info: number): Uint8Array =>
  message({ 1: 11, 2: id, 19: message({ 1: id, 2: info }) });
const epoll = (id: number, fd: number): Uint8Array =>
  message({ 1: 6, 2: id, 13: message({ 1: id, 4: message({ 1: id, 2: fd }) }) });

const [read, write, both] = [0, 1, 2];

function images(
  files: readonly Uint8Array[],
  root: readonly Uint8Array[],
  child: readonly Uint8Array[] = [],
  ttys?: readonly number[],
): StreamImages {
  return {
    files: fileOf(files, magic.files),
    ttyInfo:
      ttys &&
      fileOf(
        ttys.map((id) => message({ 1: id, 2: 1 })),
        magic.ttyInfo,
      ),
    fdinfo: new Map([
      ['fdinfo-2.img', fileOf(root, magic.fdinfo)],
      ['fdinfo-3.img', fileOf(child, magic.fdinfo)],
    ]),
    rootFdinfo: 'fdinfo-2.img',
  };
}

/** The key that each descriptor of a table leads to, and the ids of the other files that are left. */
function shown(result: Replaced): {
  readonly root: Record<number, string | number>;
  readonly child: Record<number, string | number>;
  readonly left: readonly number[];
} {
  assert.equal(result.is, 'replaced', JSON.stringify(result));
  const made = (result as Extract<Replaced, { is: 'replaced' }>).images;
  const entries = (name: string, kind: number) => entriesOf(made.get(name)!, kind)!.map(readFields);
  const keys = new Map<number, string>();
  const left: number[] = [];
  for (const each of entries('files.img', magic.files)) {
    const id = numberOf(each, 2)!;
    const path = bytesOf(readFields(bytesOf(each, 3) ?? new Uint8Array()), 6);
    const name = path && Buffer.from(path).toString();
    if (name?.startsWith('/criuctl:')) keys.set(id, name.slice(1));
    else left.push(id);
  }
  const table = (name: string) =>
    Object.fromEntries(
      entries(name, magic.fdinfo).map((each) => {
        const [id, type, fd] = [1, 3, 4].map((number) => numberOf(each, number)!) as [number, number, number];
        assert.equal(keys.has(id) ? type : 1, 1, 'a replaced descriptor leads to a regular file');
        return [fd, keys.get(id) ?? id];
      }),
    );
  return { root: table('fdinfo-2.img'), child: table('fdinfo-3.img'), left };
}

const [input, output, error] = ([0, 1, 2] as const).map(keyOf) as [string, string, string];

describe('the descriptors that get another file with a standard stream', () => {
  const rows: readonly [string, number, Parameters<typeof goesAlong>[1], Stream[], Stream | undefined][] = [
    ['standard output itself', 1, 'write', [1], 1],
    ['standard error as output, if both led to one place', 2, 'write', [1], 1],
    ['standard error itself, if it has a file of its own', 2, 'write', [1, 2], 2],
    ['standard input itself', 0, 'both', [0, 1], 0],
    ['never standard input for an output', 0, 'both', [1], undefined],
    ['never an output for standard input', 1, 'both', [0], undefined],
    ['a copy of an output above', 7, 'write', [2], 2],
    ['a copy of the input above', 7, 'read', [0, 1], 0],
    ['no copy above for both ways, as that of a shell', 255, 'both', [0, 1, 2], undefined],
    ['nothing that leads elsewhere', 1, 'write', [], undefined],
  ];
  for (const [what, fd, access, same, expected] of rows)
    it(`are: ${what}`, () => assert.equal(goesAlong(fd, access, same), expected));
});

describe('images with other standard streams', () => {
  const piped = images(
    [regular(1, read), pipe(2, 70, write), pipe(3, 70, write)],
    [descriptor(0, 1, 1), descriptor(1, 2, 2), descriptor(2, 2, 2)],
    [descriptor(1, 3, 2), descriptor(9, 3, 2)],
  );

  it('replace an end of a pipe in all processes of the tree, and nothing else', () => {
    assert.deepEqual(shown(replaced(piped, [1])), {
      root: { 0: 1, 1: output, 2: output },
      child: { 1: output, 9: output },
      left: [1],
    });
  });

  it('divide a pipe that was output and error', () => {
    assert.deepEqual(shown(replaced(piped, [1, 2])), {
      root: { 0: 1, 1: output, 2: error },
      child: { 1: output, 9: output },
      left: [1],
    });
  });

  it('have no terminal any more if nothing leads there', () => {
    const tree = images(
      [terminal(1, 6)],
      [0, 1, 2].map((fd) => descriptor(fd, 1, 11)),
      [],
      [6, 8],
    );
    const made = replaced(tree, [0, 1, 2]);
    assert.deepEqual(shown(made), { root: { 0: input, 1: output, 2: error }, child: {}, left: [] });
    const infos = (result: Replaced) =>
      entriesOf((result as Extract<Replaced, { is: 'replaced' }>).images.get('tty-info.img')!, magic.ttyInfo)!
        .map(readFields)
        .map((each) => numberOf(each, 1));
    assert.deepEqual(infos(made), [8]);
    const partly = replaced(tree, [1]);
    assert.deepEqual(shown(partly), { root: { 0: 1, 1: output, 2: output }, child: {}, left: [1] });
    assert.deepEqual(infos(partly), [6, 8]);
  });

  it('keep each regular file, which a mapping may need', () => {
    const tree = images([regular(1, write)], [descriptor(1, 1, 1)]);
    assert.deepEqual(shown(replaced(tree, [1])), { root: { 1: output }, child: {}, left: [1] });
  });

  it('are refused for a closed stream, and one whose other end is in the tree', () => {
    const refused = (tree: StreamImages, stream: Stream, why: RegExp): void => {
      const result = replaced(tree, [stream]);
      assert.equal(result.is, 'refused');
      const { stream: about, why: words } = result as Extract<Replaced, { is: 'refused' }>;
      assert.equal(about, stream);
      assert.match(words, why);
    };
    refused(images([], []), 1, /is closed/);
    refused(
      images([pipe(1, 70, write), pipe(2, 70, read)], [descriptor(1, 1, 2)], [descriptor(0, 2, 2)]),
      1,
      /pipe whose other end is in the tree/,
    );
    refused(images([pipe(1, 70, both)], [descriptor(1, 1, 2)]), 1, /pipe whose other end/);
    refused(
      images([socket(1, 10, 11), socket(2, 11, 10)], [descriptor(0, 1, 5)], [descriptor(0, 2, 5)]),
      0,
      /socket whose other end is in the tree/,
    );
    refused(images([pipe(1, 70, read), epoll(2, 0)], [descriptor(0, 1, 2), descriptor(5, 2, 6)]), 0, /epoll/);
  });

  it('tell which streams are lost: those whose other end is in no image', () => {
    assert.deepEqual(lost(piped), [1, 2]);
    const inside = [pipe(1, 70, write), pipe(2, 70, read), socket(3, 10, 11), socket(4, 12, 0)];
    const fds = [descriptor(0, 3, 5), descriptor(1, 1, 2), descriptor(2, 4, 5)];
    assert.deepEqual(lost(images(inside, fds)), [0]);
    assert.deepEqual(lost(images([], [])), []);
  });

  it('replace a socket whose peer was declared as external', () => {
    const tree = images([socket(1, 10, 11), socket(2, 11, 10, 1)], [descriptor(1, 1, 5)]);
    assert.deepEqual(shown(replaced(tree, [1])).root, { 1: output });
  });

  it('are not made of damaged bytes', () => {
    const whole = piped.files;
    const entries = entriesOf(whole, magic.files)!;
    const boundaries = [0, 1, 2, 3].map((count) => fileOf(entries.slice(0, count), magic.files).length);
    for (let length = 0; length < whole.length; length += 1) {
      if (boundaries.includes(length)) continue;
      const { is } = replaced({ ...piped, files: whole.subarray(0, length) }, [1]);
      assert.equal(is, 'unreadable', `${length} bytes`);
    }
    assert.equal(replaced({ ...piped, rootFdinfo: 'fdinfo-9.img' }, [1]).is, 'unreadable');
    assert.equal(replaced({ ...piped, files: fileOf([], magic.pstree) }, [1]).is, 'unreadable');
  });
});
