/**
 * The format of manifest.json, which stands beside the images of a finished dump. Pure. A manifest is read as carefully as an image:
 * the writer of the directory decides its content.
 */
import { isRoundName } from '../round-names.ts';
import { beginsAsManifest, manifestFormat } from './names.ts';

/**
 * Version 1 of the format. A reader refuses later versions; members that it does not know change nothing.
 * @internal
 */
export const manifestVersion = 1;

/**
 * Enough for 100,000 files.
 * @internal
 */
export const mostManifestBytes = 16 << 20;
/** @internal */
export const mostManifestFiles = 100_000;
/** @internal */
export const mostManifestTasks = 1000;
const mostTextBytes = 4096;
/** Objects and lists: one for each file, and three for each task. Empty ones take 3 bytes of the text, and 20 times as much in memory. */
const mostObjects = 1 << 17;
/** Four for each file, and one for each thread and word of a command line. */
const mostValues = 1 << 20;

/** An image, as it was when the dump was complete. */
export interface ManifestFile {
  /** Below the directory; an image of a round of a live dump is `round-N/NAME`. */
  readonly name: string;
  readonly bytes: number;
  /** Hexadecimal. Absent for images of pages, unless the dump was to digest them. */
  readonly sha256?: string;
}

export interface ManifestTask {
  readonly pid: number;
  readonly ppid: number;
  /** Numbers of all threads, the task's own among them. */
  readonly threads: readonly number[];
  /** Empty where it was not in the images. */
  readonly commandLine: readonly string[];
}

/** The machine of the dump. */
export interface ManifestMachine {
  /**
   * 32 hexadecimal digits, derived from /etc/machine-id, which is not for everybody's eyes: HMAC-SHA256 with this format's name, cut to
   * 128 bits. Empty on a machine without an id.
   */
  readonly id: string;
  /** Of the kernel, random for each boot. */
  readonly bootId: string;
  readonly host: string;
  /** As `uname -r` says. */
  readonly kernel: string;
  /** As `uname -m` says. */
  readonly architecture: string;
  readonly cpu: {
    readonly model: string;
    /** SHA-256 of the names of its features in /proc/cpuinfo, sorted, with blanks between them. */
    readonly flags: string;
  };
}

export interface Manifest {
  readonly version: number;
  /** In ISO 8601. */
  readonly written: string;
  readonly machine: ManifestMachine;
  /** The version of CRIU; absent if unknown. */
  readonly criu?: string;
  /** The user that asked for the dump; the name is that of /etc/passwd, or `uid N`. */
  readonly user: { readonly uid: number; readonly gid: number; readonly name: string };
  /** When the manifest was written, by each clock, in microseconds. */
  readonly clocks: {
    readonly realtimeUsec: number;
    readonly monotonicUsec: number;
    readonly boottimeUsec: number;
  };
  /** The time in the inventory, by which the dump is known; absent where CRIU has written none. */
  readonly dumpUptime?: number;
  readonly tasks: readonly ManifestTask[];
  /** The number of tasks that are not in the list. */
  readonly moreTasks: number;
  /** The processes ran on after the dump. */
  readonly leftRunning: boolean;
  /** Options that the restore needs, as words of criuctl's command line. */
  readonly restoreWith: readonly string[];
  readonly files: readonly ManifestFile[];
}

/** A text that begins as a manifest, and is none that can be read. The message completes a sentence that begins with the file. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

/**
 * A line for each file, so that a person can read it, and programs can compare two.
 * @internal
 */
export function manifestText(manifest: Manifest): string {
  const whole = textOf(manifest);
  if (excessOf(whole) === undefined) return whole;
  // Command lines may consist of empty words.
  return textOf({ ...manifest, tasks: manifest.tasks.map((task) => ({ ...task, commandLine: [] })) });
}

function textOf({ files, ...rest }: Manifest): string {
  const head = JSON.stringify({ format: manifestFormat, ...rest }, undefined, 2).replace(/\n\}$/, '');
  const lines = files.map((file) => `    ${JSON.stringify(file)}`).join(',\n');
  return `${head},\n  "files": [\n${lines}\n  ]\n}\n`;
}

/**
 * @returns undefined for a text of another format. @throws ManifestError
 * @internal
 */
export function parseManifest(text: string): Manifest | undefined {
  if (!beginsAsManifest(text)) return undefined;
  const excess = excessOf(text);
  if (excess !== undefined) throw new ManifestError(excess);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ManifestError('is no JSON: it was cut off or changed');
  }
  const whole = new Members(value, '');
  const version = whole.count('version');
  if (version > manifestVersion)
    throw new ManifestError(`has version ${version} of its format, which is newer than is known here`);
  const machine = whole.object('machine');
  const cpu = machine.object('cpu');
  const user = whole.object('user');
  const clocks = whole.object('clocks');
  return {
    version,
    written: whole.text('written'),
    machine: {
      id: machine.text('id'),
      bootId: machine.text('bootId'),
      host: machine.text('host'),
      kernel: machine.text('kernel'),
      architecture: machine.text('architecture'),
      cpu: { model: cpu.text('model'), flags: cpu.text('flags') },
    },
    ...whole.optional('criu', (name) => whole.text(name)),
    user: {
      uid: user.count('uid'),
      gid: user.count('gid'),
      name: user.text('name'),
    },
    clocks: {
      realtimeUsec: clocks.count('realtimeUsec'),
      monotonicUsec: clocks.count('monotonicUsec'),
      boottimeUsec: clocks.count('boottimeUsec'),
    },
    ...whole.optional('dumpUptime', (name) => whole.count(name)),
    tasks: whole
      .list('tasks', mostManifestTasks)
      .map((task, at) => taskOf(new Members(task, `tasks[${at}]`))),
    moreTasks: whole.count('moreTasks'),
    leftRunning: whole.boolean('leftRunning'),
    restoreWith: whole.list('restoreWith', 100).map(optionOf),
    files: filesOf(whole.list('files', mostManifestFiles)),
  };
}

/** Counts before JSON.parse makes them; characters in texts count, too, and manifests have few of these there. */
function excessOf(text: string): string | undefined {
  let objects = 0;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === comma) values += 1;
    else if (code === bracket || code === brace) objects += 1;
  }
  return objects > mostObjects || values > mostValues
    ? `has ${objects} objects and ${values} values, and at most ${mostObjects} and ${mostValues} are read`
    : undefined;
}

const comma = 0x2c;
const bracket = 0x5b;
const brace = 0x7b;

function taskOf(task: Members): ManifestTask {
  return {
    pid: task.count('pid'),
    ppid: task.count('ppid'),
    threads: task.list('threads', 100_000).map((tid) => requireCount(tid, 'threads')),
    commandLine: task.list('commandLine', mostTextBytes).map((word) => requireText(word, 'commandLine')),
  };
}

/** A person may paste these into a command line. */
function optionOf(value: unknown): string {
  const word = requireText(value, 'restoreWith');
  if (!/^--[a-z][a-z-]*$/.test(word)) throw new ManifestError('has a word in restoreWith that is no option');
  return word;
}

function filesOf(values: readonly unknown[]): ManifestFile[] {
  const names = new Set<string>();
  return values.map((value, at) => {
    const file = new Members(value, `files[${at}]`);
    const name = file.text('name');
    if (!isNameOfFile(name))
      throw new ManifestError(`lists a file with a name that no image has (files[${at}])`);
    if (names.has(name)) throw new ManifestError(`lists a file twice (files[${at}])`);
    names.add(name);
    return {
      name,
      bytes: file.count('bytes'),
      ...file.optional('sha256', (member) => {
        const digest = file.text(member);
        if (!/^[0-9a-f]{64}$/.test(digest)) throw new ManifestError(`has no SHA-256 in files[${at}]`);
        return digest;
      }),
    };
  });
}

/**
 * An image in the directory, or in a round below it: no name leads elsewhere.
 * @internal
 */
export function isNameOfFile(name: string): boolean {
  const parts = name.split('/');
  const image = parts.pop()!;
  const inDirectory = parts.length === 0 || (parts.length === 1 && isRoundName(parts[0]!));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a name with such a character is refused.
  return inDirectory && image.length <= 255 && /^[^\0-\x1f\x7f.][^\0-\x1f\x7f]*\.img$/.test(image);
}

/** The members of an object, each with its type. */
class Members {
  readonly #members: ReadonlyMap<string, unknown>;
  readonly #place: string;

  constructor(value: unknown, place: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new ManifestError(`has no object at ${place || 'its beginning'}`);
    this.#members = new Map(Object.entries(value));
    this.#place = place === '' ? '' : `${place}.`;
  }

  object(name: string): Members {
    return new Members(this.#members.get(name), this.#place + name);
  }

  list(name: string, most: number): readonly unknown[] {
    const value = this.#members.get(name);
    if (!Array.isArray(value)) throw new ManifestError(`has no list ${this.#place}${name}`);
    if (value.length > most)
      throw new ManifestError(
        `has ${value.length} values in ${this.#place}${name}, and at most ${most} are read`,
      );
    return value;
  }

  count(name: string): number {
    return requireCount(this.#members.get(name), this.#place + name);
  }

  text(name: string): string {
    return requireText(this.#members.get(name), this.#place + name);
  }

  boolean(name: string): boolean {
    const value = this.#members.get(name);
    if (typeof value !== 'boolean')
      throw new ManifestError(`has neither true nor false in ${this.#place}${name}`);
    return value;
  }

  /** An object with this member, or an empty object. */
  optional<K extends string, T>(name: K, read: (name: K) => T): { readonly [key in K]?: T } {
    if (!this.#members.has(name)) return {};
    return { [name]: read(name) } as { readonly [key in K]?: T };
  }
}

function requireCount(value: unknown, place: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new ManifestError(`has no number ${place}`);
  return value as number;
}

function requireText(value: unknown, place: string): string {
  if (typeof value !== 'string' || value.length > mostTextBytes)
    throw new ManifestError(`has no text ${place}, or a longer text than is read`);
  return value;
}
