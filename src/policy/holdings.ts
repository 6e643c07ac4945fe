/** What processes hold, as the addon reads it: one entry for each different thing, in the hands of whoever was seen with it first. */

/** A file, or an object of the kernel's that no path leads to. */
export interface Holding {
  readonly pid: number;
  /** Which link of /proc/PID tells of it: `fd/3`, `cwd`, `exe`, `map_files/RANGE`; a directory of links that could not be read. */
  readonly name: string;
  /** What its holder may do with it, of `r`, `w` and `x` (a program is executed, a working directory searched); none of an O_PATH descriptor. */
  readonly access: string;
  /** What the link says: a path, with ` (deleted)` behind it when nothing leads there any more, or a kind and a number (`pipe:[1]`). */
  readonly target: string;
  /** How many descriptors wait in the queue of a socket. */
  readonly queued: number;
  /** An errno: it could not be looked at. */
  readonly failure: number;
  /** Whose the file is; undefined without a file. */
  readonly owner: number | undefined;
  /** The id of the mount that it was opened on, and what kind of file system that is (statfs(2)). */
  readonly mount: number;
  readonly magic: number;
  /** Who mounted that, if it is a FUSE file system where this service lives. */
  readonly fuseOwner: number | undefined;
  /** What the caller is told who opens that path with that access: 0, an errno, or {@link anotherFile}; undefined where it was not asked. */
  readonly path: number | undefined;
  /** Below /proc/PID: what the caller is told who looks into that process; 0, or an errno. */
  readonly process: number | undefined;
}

/** The path leads to another file than the one that is held. */
export const anotherFile = -1;

/** All that was read. */
export interface Holdings {
  /** The id of the mount at /proc. */
  readonly procMount: number;
  readonly each: Iterable<Holding>;
}

/** @param text of the addon: fields with a NUL behind each. */
export function parseHoldings(text: string): Holdings {
  const fields = fieldsOf(text);
  const { value, done } = fields.next();
  if (done) throw new Error('What is held ends before it begins');
  return { procMount: Number(value), each: holdingsOf(fields) };
}

function* holdingsOf(fields: Iterator<string>): Generator<Holding> {
  for (let first = fields.next(); !first.done; first = fields.next()) {
    const rest = Array.from({ length: 11 }, () => {
      const { value, done } = fields.next();
      if (done) throw new Error('What is held ends in the middle of an entry');
      return value as string;
    });
    const [name, access, target, queued, failure, owner, mount, magic, fuseOwner, path, process] =
      rest as unknown as StringsOf<11>;
    yield {
      pid: Number(first.value),
      name,
      access,
      target,
      queued: Number(queued),
      failure: Number(failure),
      owner: optional(owner),
      mount: Number(mount),
      magic: Number(magic),
      fuseOwner: optional(fuseOwner),
      path: optional(path),
      process: optional(process),
    };
  }
}

type StringsOf<N extends number, L extends string[] = []> = L['length'] extends N
  ? L
  : StringsOf<N, [...L, string]>;

function optional(field: string): number | undefined {
  return field === '' ? undefined : Number(field);
}

function* fieldsOf(text: string): Generator<string> {
  for (let begin = 0; begin < text.length; ) {
    const end = text.indexOf('\0', begin);
    if (end === -1) throw new Error('What is held ends in the middle of a field');
    yield text.slice(begin, end);
    begin = end + 1;
  }
}
