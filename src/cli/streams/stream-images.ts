/**
 * Images in which standard streams of a tree are other files. Pure.
 *
 * CRIU takes an inherited descriptor (`inherit_fd`) as it is only for a regular file. For a pipe it opens the descriptor again
 * with the flags of the pipe's end, without O_APPEND, and for a socket or a terminal not at all, or in another way. So in these
 * images each such stream is a regular file whose path is the key of the inherited descriptor (criu/files-reg.c, open_path).
 */
import {
  bytesOf,
  numberOf,
  readFields,
  type WireField,
  withValue,
  writeFields,
} from '../../protocol/fields.ts';
import { entriesOf, fileOf, magic } from '../terminal/image-file.ts';

/** Numbers of descriptors: standard input, output and error. */
export type Stream = 0 | 1 | 2;

export const streamNames = ['standard input', 'standard output', 'standard error'] as const;

export interface StreamImages {
  readonly files: Buffer;
  /** Absent if the tree has no terminals. */
  readonly ttyInfo: Buffer | undefined;
  /** The descriptors of each table of the tree, by the names of their images. */
  readonly fdinfo: ReadonlyMap<string, Buffer>;
  /** The name of the table of the tree's root. */
  readonly rootFdinfo: string;
}

export type Replaced =
  /** The images that differ, by their names. */
  | { readonly is: 'replaced'; readonly images: ReadonlyMap<string, Buffer> }
  | { readonly is: 'refused'; readonly stream: Stream; readonly why: string }
  | { readonly is: 'unreadable' };

/** The key of the inherited descriptor for a stream. */
export function keyOf(stream: Stream): string {
  return `criuctl:${stream}`;
}

/** The fields of images/fdinfo.proto and of the messages in it. */
const descriptor = { id: 1, type: 3, fd: 4 } as const;
const file = { type: 1, id: 2, reg: 3, epoll: 13, unix: 16, pipe: 18, tty: 19 } as const;
const reg = { id: 1, flags: 2, pos: 3, owner: 5, name: 6 } as const;
const pipe = { pipeId: 2, flags: 3 } as const;
const unix = { inode: 2, peer: 8 } as const;
const tty = { info: 2 } as const;
const epoll = { watched: 4, fd: 2 } as const;
const ttyInfoId = 1;

/** Values of fd_types. */
const type = { reg: 1, pipe: 2, unix: 5, tty: 11 } as const;

const accessMode = 0o3;
const writeOnly = 0o1;
const readAndWrite = 0o2;
const append = 0o2000;

type Access = 'read' | 'write' | 'both';

/** An open file of the tree. */
interface Opened {
  readonly fields: readonly WireField[];
  readonly type: number;
  /** The same for all open files that lead to the same place: both ends of a terminal, and one end of a pipe. */
  readonly place: string;
  readonly access: Access;
}

/** A descriptor of the tree. */
interface Descriptor {
  readonly fields: readonly WireField[];
  readonly id: number;
  readonly fd: number;
}

/** The images with these streams of the tree's root replaced, and with all descriptors that lead to the same places. */
export function replaced(images: StreamImages, streams: readonly Stream[]): Replaced {
  try {
    return replacedIn(images, streams);
  } catch {
    return { is: 'unreadable' };
  }
}

function replacedIn(images: StreamImages, streams: readonly Stream[]): Replaced {
  const { files, tables } = readImages(images);
  const root = tables.get(images.rootFdinfo);
  if (!root) return { is: 'unreadable' };
  const places = new Map<Stream, string>();
  for (const stream of streams) {
    const opened = files.get(root.find(({ fd }) => fd === stream)?.id ?? -1);
    if (!opened) return { is: 'refused', stream, why: 'is closed' };
    const why = whyNot(opened, files);
    if (why !== undefined) return { is: 'refused', stream, why };
    places.set(stream, opened.place);
  }
  const next = Math.max(0, ...files.keys()) + 1;
  const idOf = (stream: Stream): number => next + stream;
  const streamOf = ({ id, fd }: Descriptor): Stream | undefined => {
    const opened = files.get(id);
    const same = streams.filter((stream) => places.get(stream) === opened?.place);
    return opened && goesAlong(fd, opened.access, same);
  };
  const changed = new Map<string, Buffer>();
  const used = new Set<number>();
  for (const [name, table] of tables) {
    const stream = watchedStream(table, files, streamOf);
    if (stream !== undefined) {
      return {
        is: 'refused',
        stream,
        why: 'has its events awaited by the program (epoll), and a file has no events',
      };
    }
    const entries = table.map((each) => {
      const stream = streamOf(each);
      if (stream === undefined) used.add(each.id);
      if (stream === undefined) return each.fields;
      return withValue(withValue(each.fields, descriptor.id, idOf(stream)), descriptor.type, type.reg);
    });
    changed.set(name, fileOf(entries.map(writeFields), magic.fdinfo));
  }
  const gone = new Set(
    [...files.keys()].filter((id) => {
      const { type: kind, place } = files.get(id)!;
      return kind !== type.reg && !used.has(id) && [...places.values()].includes(place);
    }),
  );
  const kept = [...files].flatMap(([id, { fields }]) => (gone.has(id) ? [] : [writeFields(fields)]));
  changed.set(
    'files.img',
    fileOf([...kept, ...streams.map((stream) => newFile(idOf(stream), stream))], magic.files),
  );
  if (images.ttyInfo) changed.set('tty-info.img', withoutTerminals(images.ttyInfo, files, gone));
  return { is: 'replaced', images: changed };
}

/**
 * The standard streams of the tree's root that are pipes or sockets whose other end is in no image.
 * @throws an error if the images are damaged.
 */
export function lost(images: StreamImages): readonly Stream[] {
  const { files, tables } = readImages(images);
  const root = tables.get(images.rootFdinfo) ?? [];
  return ([0, 1, 2] as const).filter((stream) => {
    const opened = files.get(root.find(({ fd }) => fd === stream)?.id ?? -1);
    return opened && hasOtherEnd(opened) && whyNot(opened, files) === undefined;
  });
}

function hasOtherEnd(opened: Opened): boolean {
  return opened.type === type.pipe || (opened.type === type.unix && unixOf(opened).peer !== 0);
}

/**
 * The stream in whose place a descriptor gets a file, of the streams that lead where it leads. Output and error go together, as
 * with `2>&1`. A descriptor above for both ways, as a shell has it of its terminal, stays.
 */
export function goesAlong(fd: number, access: Access, same: readonly Stream[]): Stream | undefined {
  if (fd <= 2 && same.includes(fd as Stream)) return fd as Stream;
  if (fd === 0) return undefined;
  const output = same.find((stream) => stream !== 0);
  if (fd <= 2) return output;
  if (access === 'both') return undefined;
  return access === 'read' ? same.find((stream) => stream === 0) : output;
}

/** The rest of a sentence that begins with the stream. */
function whyNot(opened: Opened, files: ReadonlyMap<number, Opened>): string | undefined {
  const all = [...files.values()].filter((each) => each.type === opened.type && each !== opened);
  if (opened.type === type.pipe) {
    const ends = all.filter((each) => pipeOf(each).id === pipeOf(opened).id);
    return opened.access === 'both' || ends.some(({ access }) => access !== opened.access)
      ? 'is a pipe whose other end is in the tree, and comes back as it was'
      : undefined;
  }
  if (opened.type === type.unix) {
    const { peer } = unixOf(opened);
    const users = all.map((each) => unixOf(each));
    return peer !== 0 && users.some(({ inode, external }) => inode === peer && !external)
      ? 'is a socket whose other end is in the tree, and comes back as it was'
      : undefined;
  }
  return undefined;
}

function pipeOf({ fields }: Pick<Opened, 'fields'>): { readonly id: number; readonly flags: number } {
  const entry = readFields(bytesOf(fields, file.pipe) ?? new Uint8Array());
  return { id: numberOf(entry, pipe.pipeId) ?? 0, flags: numberOf(entry, pipe.flags) ?? 0 };
}

/** USK_EXTERN of criu/include/sk-unix.h: a socket of a process outside of the tree. */
const external = 1;
const unixFlags = 6;

function unixOf({ fields }: Opened): {
  readonly inode: number;
  readonly peer: number;
  readonly external: boolean;
} {
  const entry = readFields(bytesOf(fields, file.unix) ?? new Uint8Array());
  return {
    inode: numberOf(entry, unix.inode) ?? 0,
    peer: numberOf(entry, unix.peer) ?? 0,
    external: ((numberOf(entry, unixFlags) ?? 0) & external) !== 0,
  };
}

/** The first stream of this table whose events an epoll file waits for. */
function watchedStream(
  table: readonly Descriptor[],
  files: ReadonlyMap<number, Opened>,
  streamOf: (descriptor: Descriptor) => Stream | undefined,
): Stream | undefined {
  const watched = table.flatMap(({ id }) =>
    readFields(bytesOf(files.get(id)?.fields ?? [], file.epoll) ?? new Uint8Array()).flatMap(
      ({ number, value }) =>
        number === epoll.watched && typeof value === 'object' ? numberOf(readFields(value), epoll.fd) : [],
    ),
  );
  return table
    .filter(({ fd }) => watched.includes(fd))
    .map(streamOf)
    .find((stream) => stream !== undefined);
}

function newFile(id: number, stream: Stream): Uint8Array {
  const field = (number: number, value: number | Uint8Array): WireField => ({ number, value });
  // Required by the format, and unused for an inherited descriptor.
  const owner = writeFields([1, 2, 3, 4, 5].map((number) => field(number, 0)));
  const opened = writeFields([
    field(reg.id, id),
    field(reg.flags, stream === 0 ? 0 : writeOnly | append),
    field(reg.pos, 0),
    field(reg.owner, owner),
    field(reg.name, Buffer.from(`/${keyOf(stream)}`)),
  ]);
  return writeFields([field(file.type, type.reg), field(file.id, id), field(file.reg, opened)]);
}

/** The terminals that still have an open file in the tree. */
function withoutTerminals(
  ttyInfo: Buffer,
  files: ReadonlyMap<number, Opened>,
  gone: ReadonlySet<number>,
): Buffer {
  const infosOf = (isGone: boolean): ReadonlySet<string> =>
    new Set(
      [...files]
        .filter(([id, opened]) => opened.type === type.tty && gone.has(id) === isGone)
        .map(([, opened]) => opened.place),
    );
  const lost = infosOf(true);
  const kept = infosOf(false);
  const entries = fieldsOf(ttyInfo, magic.ttyInfo).filter((each) => {
    const place = terminalPlace(numberOf(each, ttyInfoId));
    return !lost.has(place) || kept.has(place);
  });
  return fileOf(entries.map(writeFields), magic.ttyInfo);
}

function terminalPlace(info: number | undefined): string {
  return `terminal ${info}`;
}

function readImages(images: StreamImages): {
  readonly files: ReadonlyMap<number, Opened>;
  readonly tables: ReadonlyMap<string, readonly Descriptor[]>;
} {
  const tables = [...images.fdinfo].map(([name, image]) => {
    const table = fieldsOf(image, magic.fdinfo).map((fields) => ({
      fields,
      id: numberOf(fields, descriptor.id) ?? 0,
      fd: numberOf(fields, descriptor.fd) ?? -1,
    }));
    return [name, table] as const;
  });
  return { files: new Map(fieldsOf(images.files, magic.files).map(openedOf)), tables: new Map(tables) };
}

function openedOf(fields: readonly WireField[]): [number, Opened] {
  const id = numberOf(fields, file.id) ?? 0;
  const kind = numberOf(fields, file.type) ?? 0;
  const inside = (number: number): readonly WireField[] =>
    readFields(bytesOf(fields, number) ?? new Uint8Array());
  const made = (place: string, access: Access): [number, Opened] => [
    id,
    { fields, type: kind, place, access },
  ];
  switch (kind) {
    case type.reg:
      return made(`file ${id}`, accessOf(numberOf(inside(file.reg), reg.flags)));
    case type.pipe: {
      const { id: number, flags } = pipeOf({ fields });
      return made(`pipe ${number} ${accessOf(flags)}`, accessOf(flags));
    }
    case type.tty:
      return made(terminalPlace(numberOf(inside(file.tty), tty.info)), 'both');
    default:
      return made(`file ${id}`, 'both');
  }
}

function accessOf(flags = 0): Access {
  const mode = flags & accessMode;
  return mode === readAndWrite ? 'both' : mode === writeOnly ? 'write' : 'read';
}

/** @throws an error if the image is damaged. */
function fieldsOf(image: Buffer, kind: number): WireField[][] {
  const entries = entriesOf(image, kind);
  if (!entries) throw new Error('the image is of another kind, or cut off');
  return entries.map(readFields);
}
