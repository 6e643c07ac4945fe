/**
 * Parses the addon's list of the things that processes hold. Each different thing is listed once, for the process that was first
 * seen with it.
 */

/** A file, or a kernel object without a path. */
export interface Holding {
  readonly pid: number;
  /**
   * The link of /proc/PID that leads to it: `fd/3`, `cwd`, `exe`, `map_files/RANGE`; or a directory of links that could not be
   * read.
   */
  readonly name: string;
  /**
   * The access that its holder has, of `r`, `w` and `x` (a program is executed, a working directory searched); empty for an
   * O_PATH descriptor.
   */
  readonly access: string;
  /** The text of the link: a path, followed by ` (deleted)` if it was unlinked, or a kind and a number (`pipe:[1]`). */
  readonly target: string;
  /** The number of descriptors in flight in the queue of a socket. */
  readonly queued: number;
  /** An errno if reading it failed, otherwise 0. */
  readonly failure: number;
  /** The uid that owns the file; undefined without a file. */
  readonly owner: number | undefined;
  /** The id of the mount through which it was opened, and the type of that file system (statfs(2)). */
  readonly mount: number;
  readonly magic: number;
  /** The uid that mounted that file system, if it is FUSE and mounted where this service lives. */
  readonly fuseOwner: number | undefined;
  /**
   * The result of opening that path with that access as the caller: 0, an errno, or {@link anotherFile}; undefined where this was
   * not tried.
   */
  readonly path: number | undefined;
  /** Below /proc/PID: the result of looking into that process as the caller: 0, or an errno. */
  readonly process: number | undefined;
}

/** The path leads to another file than the held file. */
export const anotherFile = -1;

/** The complete result of a reading. */
export interface Holdings {
  /** The id of the mount at /proc. */
  readonly procMount: number;
  readonly each: Iterable<Holding>;
}

/** @param text from the addon: fields with a NUL after each. */
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
