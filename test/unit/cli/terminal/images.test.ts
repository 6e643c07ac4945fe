import assert from 'node:assert/strict';
import { entriesOf, fileOf, magic } from '../../../../src/cli/terminal/image-file.ts';
import {
  freeNumbers,
  moved,
  type NewTerminals,
  type TerminalImages,
  terminalsIn,
} from '../../../../src/cli/terminal/images.ts';
import { bytesOf, numberOf, readFields, writeFields } from '../../../../src/protocol/fields.ts';

/** A message with these fields; a field that no released CRIU has is at its end. */
function message(fields: Readonly<Record<number, number | Uint8Array>>): Uint8Array {
  return writeFields([
    ...Object.entries(fields).map(([number, value]) => ({ number: Number(number), value })),
    { number: 1000, value: Buffer.from('newer') },
  ]);
}

const item = (pid: number, pgid: number, sid: number): Uint8Array =>
  message({ 1: pid, 2: 0, 3: pgid, 4: sid });

function terminal(
  index: number,
  end: 'master' | 'slave',
  { sid = 0, pgrp = 0, hungUp = false } = {},
): Uint8Array {
  return message({
    1: index * 2 + (end === 'master' ? 1 : 0),
    2: 1,
    6: sid,
    7: pgrp,
    8: end === 'master' ? 0x502 : 0x8800 + index,
    ...(hungUp ? {} : { 9: message({}) }),
    12: message({ 1: index }),
    14: 1500,
    15: 5,
  });
}

const openTerminal = (id: number, info: number, path: number): Uint8Array =>
  message({ 1: 11, 2: id, 19: message({ 1: id, 2: info, 6: path }) });
const path = (id: number, name: string): Uint8Array =>
  message({ 1: 1, 2: id, 3: message({ 1: id, 6: Buffer.from(name), 10: 0o20600 }) });

const infos = (...entries: Uint8Array[]): Buffer => fileOf(entries, magic.ttyInfo);
const same = (index: number): ReadonlyMap<number, number> => new Map([[index, index]]);

/** Terminals that CRIU opens in /dev/pts, unless `more` says otherwise. */
function movedTo(
  images: TerminalImages,
  numbers: ReadonlyMap<number, number>,
  keepsOwner: boolean,
  more: Partial<NewTerminals> = {},
): ReturnType<typeof moved> {
  return moved(images, { numbers, keepsOwner, through: new Set(), directory: '/dev/pts', ...more });
}

function fields(image: Buffer, kind: number) {
  return entriesOf(image, kind)!.map(readFields);
}

describe('the terminals of images', () => {
  it('are outside of the tree if their master is, unless they have hung up', () => {
    const image = infos(
      terminal(3, 'slave'),
      terminal(4, 'slave'),
      terminal(4, 'master'),
      terminal(5, 'slave', { hungUp: true }),
      message({ 1: 7, 2: 4, 6: 0, 7: 0, 8: 0x500 }),
    );
    assert.deepEqual(terminalsIn(image), { all: [3, 4, 5], outside: [3] });
    assert.deepEqual(terminalsIn(infos()), { all: [], outside: [] });
  });

  it('are unknown in a file of another kind, and in damaged bytes', () => {
    assert.equal(terminalsIn(fileOf([terminal(3, 'slave')], magic.files)), undefined);
    const whole = infos(terminal(3, 'slave'));
    for (let length = 0; length < whole.length; length += 1) {
      if (length === 8) continue;
      assert.equal(terminalsIn(whole.subarray(0, length)), undefined, `${length} bytes`);
    }
    assert.equal(terminalsIn(infos(Buffer.from([0x0b]))), undefined);
  });

  it('get numbers that CRIU can reach, and keep theirs where it can', () => {
    assert.deepEqual([...freeNumbers([3], new Set([0, 1]))], [[3, 3]]);
    assert.deepEqual([...freeNumbers([1], new Set([0, 1, 6]))], [[1, 7]]);
    assert.deepEqual([...freeNumbers([33], new Set([0]))], [[33, 5]]);
    assert.deepEqual(
      [...freeNumbers([0, 5], new Set([0]))],
      [
        [5, 5],
        [0, 6],
      ],
    );
  });
});

describe('images for another terminal', () => {
  const job = {
    pstree: fileOf([item(47, 47, 40), item(48, 48, 40), item(49, 47, 40), item(50, 50, 50)], magic.pstree),
    ttyInfo: infos(terminal(3, 'slave', { sid: 40, pgrp: 48 })),
    files: fileOf([openTerminal(1, 6, 2), path(2, '/dev/pts/3'), path(4, '/srv/3')], magic.files),
  };

  it('have a root that leads the session of its terminal, and the same groups', () => {
    const made = movedTo(job, same(3), true)!;
    assert.deepEqual(
      fields(made.pstree, magic.pstree).map((each) => [1, 3, 4].map((number) => numberOf(each, number))),
      [
        [47, 47, 47],
        [48, 48, 47],
        [49, 47, 47],
        [50, 50, 50],
      ],
    );
    const [info] = fields(made.ttyInfo, magic.ttyInfo);
    assert.deepEqual([numberOf(info!, 6), numberOf(info!, 7)], [47, 48]);
  });

  it('make the root a group leader, and give the terminal to its group if a shell outside had it', () => {
    const images = {
      ...job,
      pstree: fileOf([item(47, 46, 40), item(48, 46, 40), item(49, 40, 40)], magic.pstree),
      ttyInfo: infos(terminal(3, 'slave', { sid: 40, pgrp: 40 })),
    };
    const made = movedTo(images, same(3), true)!;
    assert.deepEqual(
      fields(made.pstree, magic.pstree).map((each) => numberOf(each, 3)),
      [47, 47, 47],
    );
    assert.equal(numberOf(fields(made.ttyInfo, magic.ttyInfo)[0]!, 7), 47);
  });

  it('leave a session that begins in the tree as it is', () => {
    const images = {
      ...job,
      pstree: fileOf([item(47, 47, 47), item(48, 48, 47)], magic.pstree),
      ttyInfo: infos(terminal(3, 'slave', { sid: 47, pgrp: 48 })),
    };
    const made = movedTo(images, same(3), true)!;
    assert.deepEqual([made.pstree, made.ttyInfo], [images.pstree, images.ttyInfo]);
  });

  it('have the new number in each place where CRIU looks for it', () => {
    const images = {
      ...job,
      ttyInfo: infos(terminal(3, 'slave'), terminal(3, 'master')),
      files: fileOf(
        [openTerminal(1, 6, 2), path(2, '/dev/pts/3'), openTerminal(3, 7, 4), path(4, '/dev/ptmx')],
        magic.files,
      ),
    };
    const made = movedTo(images, new Map([[3, 300]]), true)!;
    const [slave, master] = fields(made.ttyInfo, magic.ttyInfo);
    assert.deepEqual([numberOf(slave!, 1), numberOf(slave!, 8)], [600, 0x10882c]);
    assert.deepEqual([numberOf(master!, 1), numberOf(master!, 8)], [601, 0x502]);
    for (const end of [slave!, master!]) assert.equal(numberOf(readFields(bytesOf(end, 12)!), 1), 300);
    const files = fields(made.files, magic.files);
    const inner = (at: number, field: number) => readFields(bytesOf(files[at]!, field)!);
    assert.deepEqual([numberOf(inner(0, 19), 2), numberOf(inner(2, 19), 2)], [600, 601]);
    const names = [1, 3].map((at) => Buffer.from(bytesOf(inner(at, 3), 6)!).toString());
    assert.deepEqual(names, ['/dev/pts/300', '/dev/ptmx']);
  });

  it('lead through another directory to a terminal that CRIU could not open in /dev/pts, and to no other', () => {
    const images = {
      ...job,
      ttyInfo: infos(terminal(3, 'slave'), terminal(4, 'slave'), terminal(4, 'master')),
      files: fileOf(
        [openTerminal(1, 6, 2), path(2, '/dev/pts/3'), openTerminal(3, 8, 4), path(4, '/dev/pts/4')],
        magic.files,
      ),
    };
    const numbers = new Map([
      [3, 7],
      [4, 8],
    ]);
    const made = movedTo(images, numbers, false, { through: new Set([3]), directory: '/home/ü/view' })!;
    const names = [1, 3].map((at) => {
      const inner = readFields(bytesOf(fields(made.files, magic.files)[at]!, 3)!);
      return Buffer.from(bytesOf(inner, 6)!).toString();
    });
    assert.deepEqual(names, ['/home/ü/view/7', '/dev/pts/8']);
    assert.equal(made.root, 47);
  });

  it('have no mode for the path of the terminal, which mesg(1) changes, and the owner for root only', () => {
    const owner = (image: Buffer) =>
      [14, 15].map((number) => numberOf(fields(image, magic.ttyInfo)[0]!, number));
    const made = movedTo(job, same(3), true)!;
    const [, slave, other] = fields(made.files, magic.files).map((each) => bytesOf(each, 3));
    assert.equal(numberOf(readFields(slave!), 10), undefined);
    assert.equal(numberOf(readFields(other!), 10), 0o20600);
    assert.deepEqual(owner(made.ttyInfo), [1500, 5]);
    assert.deepEqual(owner(movedTo(job, same(3), false)!.ttyInfo), [undefined, undefined]);
  });

  it('keep fields that are newer than criuctl', () => {
    const made = movedTo(job, new Map([[3, 9]]), false)!;
    for (const kind of ['pstree', 'ttyInfo', 'files'] as const) {
      for (const each of fields(made[kind], magic[kind]))
        assert.equal(Buffer.from(bytesOf(each, 1000)!).toString(), 'newer');
    }
  });

  it('are not made of files that cannot be read', () => {
    for (const name of ['pstree', 'ttyInfo', 'files'] as const)
      assert.equal(movedTo({ ...job, [name]: Buffer.from('no image') }, same(3), true), undefined);
  });
});
