/**
 * The files that a tree had open for writing, as its images have them, and whether one can be as it was at the dump. Pure.
 *
 * CRIU restores no file that has another size (criu/files-reg.c, validate_file). Images have no bytes of such a file: it can be
 * put back only if it has grown at its end.
 */
import { bytesOf, numberOf, readFields, type WireField } from '../../protocol/fields.ts';
import { entriesOf, magic } from '../terminal/image-file.ts';

export interface FileImages {
  readonly files: Buffer;
  /** The descriptors of each table of the tree. */
  readonly fdinfo: readonly Buffer[];
  /** Deleted files, which CRIU creates again itself. Absent if there are none. */
  readonly remaps: Buffer | undefined;
}

export interface WrittenFile {
  readonly path: string;
  /** At the dump. */
  readonly size: number;
  /** The program writes at the end of it. */
  readonly appends: boolean;
}

/** The fields of images/fdinfo.proto, images/regfile.proto and images/remap-file-path.proto. */
const descriptor = { id: 1 } as const;
const file = { type: 1, id: 2, reg: 3 } as const;
const reg = { flags: 2, pos: 3, name: 6, size: 8, external: 9 } as const;
const remap = { original: 1 } as const;
const typeReg = 1;
const accessMode = 0o3;
const append = 0o2000;

/** @throws an error if the images are damaged. */
export function writtenFiles({ files, fdinfo, remaps }: FileImages): readonly WrittenFile[] {
  const ids = (image: Buffer, kind: number, field: number) =>
    fieldsOf(image, kind).map((each) => numberOf(each, field));
  const open = new Set(fdinfo.flatMap((image) => ids(image, magic.fdinfo, descriptor.id)));
  const gone = new Set(remaps ? ids(remaps, magic.remaps, remap.original) : []);
  const found = new Map<string, WrittenFile>();
  for (const fields of fieldsOf(files, magic.files)) {
    const id = numberOf(fields, file.id);
    if (numberOf(fields, file.type) !== typeReg || !open.has(id) || gone.has(id)) continue;
    const written = writtenFile(readFields(bytesOf(fields, file.reg) ?? new Uint8Array()));
    if (!written) continue;
    const before = found.get(written.path);
    found.set(written.path, { ...written, appends: written.appends && (before?.appends ?? true) });
  }
  return [...found.values()];
}

function writtenFile(opened: readonly WireField[]): WrittenFile | undefined {
  const name = bytesOf(opened, reg.name);
  const size = numberOf(opened, reg.size);
  const flags = numberOf(opened, reg.flags) ?? 0;
  if (!name || size === undefined || (flags & accessMode) === 0 || numberOf(opened, reg.external)) {
    return undefined;
  }
  const appends = (flags & append) !== 0 || (numberOf(opened, reg.pos) ?? 0) >= size;
  return { path: Buffer.from(name).toString('utf8'), size, appends };
}

/** A file as it is now. */
export interface FileNow {
  readonly size: number;
  readonly isRegular: boolean;
  /** The path leads through a link, or to it. */
  readonly isElsewhere: boolean;
  readonly isOwn: boolean;
  readonly mode: number;
  /** The number of its names. */
  readonly links: number;
  /** A process has it open for writing. */
  readonly isWritten: boolean;
}

export type Judgement =
  | { readonly is: 'as-it-was' }
  | { readonly is: 'grown' }
  /** The rest of a sentence that begins with the file. */
  | { readonly is: 'refused'; readonly why: string };

const others = 0o022;

export function judgeFile({ size, appends }: Pick<WrittenFile, 'size' | 'appends'>, now: FileNow): Judgement {
  if (now.size === size) return { is: 'as-it-was' };
  const refused = (why: string): Judgement => ({
    is: 'refused',
    why: `has ${now.size} bytes, and had ${size} when it was dumped; ${why}`,
  });
  if (!now.isRegular) return refused('it is no regular file');
  if (now.isElsewhere) return refused('its path leads through a link');
  if (now.size < size) return refused('the bytes that it lacks are not in the images');
  if (!now.isOwn) return refused('it belongs to somebody else');
  if ((now.mode & others) !== 0)
    return refused(`others can write it (mode ${(now.mode & 0o777).toString(8)})`);
  if (now.links > 1) return refused('it has another name, too (a hard link)');
  if (!appends) return refused('the program does not write at its end alone, so that more of it may differ');
  if (now.isWritten) return refused('a process has it open for writing');
  return { is: 'grown' };
}

/** @throws an error if the image is damaged. */
function fieldsOf(image: Buffer, kind: number): WireField[][] {
  const entries = entriesOf(image, kind);
  if (!entries) throw new Error('the image is of another kind, or cut off');
  return entries.map(readFields);
}
