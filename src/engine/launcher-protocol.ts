/**
 * The packets between this service and its launcher: the mirror of native/launcher/protocol.h, which documents their meaning and
 * order.
 */
import { endianness } from 'node:os';
import { maxInherited } from '../policy/inherited.ts';
import type { Clocks, ClockTime } from '../protocol/clocks-image.ts';

const magic = 0x484c5243;
const version = 4;
const littleEndian = endianness() === 'LE';

/** The descriptors that a launcher is started with; 0 and 1 are /dev/null. */
export const launcherFds = {
  stderr: 2,
  control: 3,
  callerPidfd: 4,
  callerProc: 5,
  /** For a hand-over only. */
  callerSocket: 6,
  /** Only for an engine that enters the time namespace of this process. */
  timePidfd: 7,
  /** The directory of the cgroup in which the launcher is born; absent if it is moved to its cgroup. */
  cgroup: 8,
} as const;

/** A caller in more groups is refused: the packet must fit into a socket's default buffer. */
export const maxLauncherGroups = 32768;
/** The limit for each string, with its NUL. */
export const maxLauncherStringBytes = 4096;
/** The size of every answer but the clocks. */
const answerBytes = 40;
const clocksHeadBytes = 56;
const maxOwnOffsetsBytes = 256;
const maxClocksImageBytes = 4096;
/** The size of the largest answer; a longer packet is malformed. */
export const maxAnswerBytes = clocksHeadBytes + maxOwnOffsetsBytes + maxClocksImageBytes;

const parametersBytes = 96;
const kindClocks = 3;
const flagNoNewPrivs = 1;
const flagHandOver = 2;
const flagNoCapability = 4;
const flagJoinTime = 8;
const flagOwnClocks = 16;

/** An LSM label, and the text to write to /proc/self/attr/exec for it. */
export interface LauncherLabel {
  readonly label: string;
  readonly command: string;
}

export interface LaunchParameters {
  /** The engine gets the caller's own connection. Then the launcher opens no files: CRIU does that itself. */
  readonly handOver: boolean;
  /** The pid of the caller, which the launcher's pidfd refers to. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** In any order. */
  readonly groups: readonly number[];
  readonly umask: number;
  readonly noNewPrivs: boolean;
  /** Capability sets of the caller; bit N is capability N. */
  readonly bounding: bigint;
  readonly inheritable: bigint;
  readonly ambient: bigint;
  /** Absent where no security module labels sockets. */
  readonly label?: LauncherLabel | undefined;
  /** The request needs no CAP_CHECKPOINT_RESTORE, and its engine holds none. */
  readonly noCapability: boolean;
  /** The engine enters the time namespace of the process that the launcher's `timePidfd` refers to. */
  readonly joinTime: boolean;
  /** The engine gets a time namespace of its own. The launcher asks for its clocks, see {@link LauncherClocks}. */
  readonly ownClocks: boolean;
  /** Absolute paths of criu, of a file with the single line `unprivileged`, and of the preloaded library. */
  readonly criu: string;
  readonly config: string;
  readonly preload: string;
  /** The files that the engine gets: numbers of the caller's descriptors, or a path for the images directory. */
  readonly imagesDirFd?: number | undefined;
  readonly imagesDir?: string | undefined;
  readonly workDirFd?: number | undefined;
  readonly statusFd?: number | undefined;
  /** Descriptors of the caller, copied to the numbers from firstInheritedFd on (src/policy/inherited.ts). */
  readonly inherited?: readonly number[] | undefined;
}

/** The steps of the launcher, in their order; the index is the number on the wire. */
export const launchSteps = [
  'none',
  'self',
  'cgroup',
  'parameters',
  'criu',
  'config',
  'preload',
  'nice',
  'scheduler',
  'io-priority',
  'affinity',
  'coredump-filter',
  'oom-score',
  'login-uid',
  'read-limit',
  'caller-gone',
  'raise-limit',
  'time',
  'inheritable',
  'bounding',
  'groups',
  'gid',
  'uid',
  'capabilities',
  'ambient',
  'keyring',
  'no-new-privs',
  'proof',
  'directory',
  'images',
  'work',
  'status',
  'inherited',
  'clocks',
  'label',
  'socket',
  'descriptors',
  'limit',
  'answer',
  'execute',
] as const;

export type LaunchStep = (typeof launchSteps)[number];

/** `value` of the steps `criu`, `config` and `preload`. */
export const FileFault = {
  cannotBeRead: 0,
  notRegular: 1,
  notRoots: 2,
  writableByOthers: 3,
  setId: 4,
  hasCapabilities: 5,
} as const;

/** The upper half of `value` of the step `inherited`; the lower half is the caller's descriptor. */
export const InheritedFault = {
  served: 0,
  path: 1,
  directory: 2,
  block: 3,
  device: 4,
  terminal: 5,
  kernel: 6,
  rights: 7,
} as const;

/** `value` of the step `time`. */
export const TimeFault = { join: 0, make: 1, offsets: 2 } as const;

/** `value` of the step `clocks`. */
export const ClocksFault = { cannotBeRead: 0, notRegular: 1, noAnswer: 2, notSet: 3 } as const;

/** `value` of the step `proof`, from 1. */
export const proofFaults = [
  'uid',
  'gid',
  'groups',
  'capabilities',
  'ambient',
  'bounding',
  'no-new-privs',
  'securebits',
  'dumpable',
  'regain-uid',
  'regain-gid',
  'regain-groups',
  'regain-capabilities',
] as const;

/** All privileges are dropped, and CRIU is about to be executed. */
export interface LaunchReady {
  readonly kind: 'ready';
  /** Descriptors of the engine, under the names of the request's fields. */
  readonly files: {
    readonly images_dir_fd?: number;
    readonly work_dir_fd?: number;
    readonly status_fd?: number;
  };
  /** The time namespace that was made for the engine, as a link of /proc names it: `time:[4026532345]`. */
  readonly timeNamespace?: string;
}

/** The question of an engine with `ownClocks`, which {@link encodeClocks} answers. No privilege is left. */
export interface LauncherClocks {
  readonly kind: 'clocks';
  /** The image with the clocks at the dump, as the caller's file has it; at most its first 4 KiB. Absent if there is none. */
  readonly image?: Buffer;
  /** The launcher's clocks now, in the time namespace that it is in. */
  readonly now: Clocks;
  /** That namespace's /proc/PID/timens_offsets. */
  readonly own: string;
}

/** The launcher failed before executing CRIU. */
export interface LaunchFailure {
  readonly kind: 'failed';
  readonly step: LaunchStep;
  /** The errno; 0 if no call failed, but its result was refused. */
  readonly error: number;
  /** Its meaning depends on the step: a limit, capability or descriptor. */
  readonly value: bigint;
}

/** CRIU has loaded our library (native/engine-preload), and has not reached its main(). */
export interface EngineGuarded {
  readonly kind: 'guarded';
}

/** The launcher was born in the cgroup; the packet carries its pidfd. The process that was started exits. */
export interface LauncherBorn {
  readonly kind: 'born';
  readonly pid: number;
}

export type LaunchAnswer = LauncherBorn | LauncherClocks | LaunchReady | LaunchFailure | EngineGuarded;

/**
 * Encodes the packet with a launcher's parameters.
 * @throws RangeError if the layout cannot hold a value, or a string contains a NUL; the message names the parameter.
 */
export function encodeParameters(parameters: LaunchParameters): Buffer {
  const strings = [
    encodeString('criu', parameters.criu),
    encodeString('config', parameters.config),
    encodeString('imagesDir', parameters.imagesDir),
    encodeString('label', parameters.label?.label),
    encodeString('label', parameters.label?.command),
    encodeString('preload', parameters.preload),
  ];
  const groups = encodeGroups(parameters.groups);
  const inherited = encodeInherited(parameters.inherited ?? []);
  const fixed = new DataView(new ArrayBuffer(parametersBytes));
  let offset = 0;
  const word = (name: string, value: number): void => {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
      throw new RangeError(`${name} must be an integer of 32 bits, not ${value}`);
    }
    fixed.setUint32(offset, value, littleEndian);
    offset += 4;
  };
  const descriptor = (name: string, value: number | undefined): void => {
    if (value !== undefined && (!Number.isInteger(value) || value < 0 || value > 0x7fffffff)) {
      throw new RangeError(`${name} must be a descriptor's number, not ${value}`);
    }
    fixed.setInt32(offset, value ?? -1, littleEndian);
    offset += 4;
  };
  const set = (name: string, value: bigint): void => {
    if (BigInt.asUintN(64, value) !== value) throw new RangeError(`${name} must be a set of 64 bits`);
    fixed.setBigUint64(offset, value, littleEndian);
    offset += 8;
  };

  word('magic', magic);
  word('version', version);
  word(
    'flags',
    (parameters.noNewPrivs ? flagNoNewPrivs : 0) |
      (parameters.handOver ? flagHandOver : 0) |
      (parameters.noCapability ? flagNoCapability : 0) |
      (parameters.joinTime ? flagJoinTime : 0) |
      (parameters.ownClocks ? flagOwnClocks : 0),
  );
  word('pid', parameters.pid);
  word('uid', parameters.uid);
  word('gid', parameters.gid);
  word('umask', parameters.umask);
  descriptor('imagesDirFd', parameters.imagesDirFd);
  descriptor('workDirFd', parameters.workDirFd);
  descriptor('statusFd', parameters.statusFd);
  set('bounding', parameters.bounding);
  set('inheritable', parameters.inheritable);
  set('ambient', parameters.ambient);
  word('groups', parameters.groups.length);
  for (const string of strings) word('size', string.length);
  word('inherited', inherited.length / 4);
  return Buffer.concat([new Uint8Array(fixed.buffer), groups, inherited, ...strings]);
}

/** @throws RangeError for bytes that no launcher of this version sends. */
export function decodeAnswer(packet: Uint8Array): LaunchAnswer {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const isClocks = packet.length === maxAnswerBytes && view.getUint32(8, littleEndian) === kindClocks;
  if (packet.length !== answerBytes && !isClocks) {
    throw new RangeError(`A launcher's answer has ${answerBytes} bytes, not ${packet.length}`);
  }
  const word = (index: number): number => view.getUint32(index * 4, littleEndian);
  const descriptor = <Name extends string>(name: Name, index: number): { [key in Name]?: number } => {
    const number = view.getInt32(index * 4, littleEndian);
    return (number === -1 ? {} : { [name]: number }) as { [key in Name]?: number };
  };
  if (word(0) !== magic || word(1) !== version) throw new RangeError('The launcher is of another version');
  if (isClocks) return decodeClocks(packet, view);
  const step = launchSteps[word(3)];
  if (step === undefined) throw new RangeError(`The launcher answers with the unknown step ${word(3)}`);
  switch (word(2)) {
    case 0:
      return {
        kind: 'ready',
        files: {
          ...descriptor('images_dir_fd', 5),
          ...descriptor('work_dir_fd', 6),
          ...descriptor('status_fd', 7),
        },
        ...namespace(view.getBigInt64(32, littleEndian)),
      };
    case 1:
      return {
        kind: 'failed',
        step,
        error: view.getInt32(16, littleEndian),
        value: view.getBigInt64(32, littleEndian),
      };
    case 2:
      return { kind: 'guarded' };
    case 4:
      return { kind: 'born', pid: Number(view.getBigInt64(32, littleEndian)) };
    default:
      throw new RangeError(`The launcher answers with the unknown kind ${word(2)}`);
  }
}

/** @param offsets from the host's clocks; undefined leaves the clocks as they are. */
export function encodeClocks(offsets: Clocks | undefined): Buffer {
  const answer = new DataView(new ArrayBuffer(48));
  [magic, version, offsets ? 1 : 0, 0].forEach((word, at) => {
    answer.setUint32(at * 4, word, littleEndian);
  });
  if (offsets) {
    const { monotonic, boottime } = offsets;
    [monotonic.seconds, monotonic.nanoseconds, boottime.seconds, boottime.nanoseconds].forEach(
      (value, at) => {
        answer.setBigInt64(16 + at * 8, value, littleEndian);
      },
    );
  }
  return Buffer.from(answer.buffer);
}

function decodeClocks(packet: Uint8Array, view: DataView): LauncherClocks {
  const imageBytes = view.getInt32(12, littleEndian);
  const ownBytes = view.getUint32(16, littleEndian);
  if (imageBytes < -1 || imageBytes > maxClocksImageBytes || ownBytes > maxOwnOffsetsBytes) {
    throw new RangeError('The launcher sends clocks of an impossible length');
  }
  const time = (at: number): ClockTime => ({
    seconds: view.getBigInt64(at, littleEndian),
    nanoseconds: view.getBigInt64(at + 8, littleEndian),
  });
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.byteLength);
  const image = clocksHeadBytes + maxOwnOffsetsBytes;
  return {
    kind: 'clocks',
    now: { monotonic: time(24), boottime: time(40) },
    own: bytes.toString('latin1', clocksHeadBytes, clocksHeadBytes + ownBytes),
    ...(imageBytes === -1 ? {} : { image: bytes.subarray(image, image + imageBytes) }),
  };
}

function namespace(inode: bigint): { readonly timeNamespace?: string } {
  return inode === 0n ? {} : { timeNamespace: `time:[${inode}]` };
}

/**
 * The command that asks for a label from SO_PEERSEC or /proc/PID/attr/current. SELinux takes the label as it is; AppArmor appends
 * the profile's mode to the name, and wants a verb before the name (apparmor(7), aa_change_onexec).
 */
export function labelFor(label: string, module: 'selinux' | 'apparmor'): LauncherLabel {
  if (module === 'selinux') return { label, command: label };
  return { label, command: `exec ${label.replace(/ \([a-z]+\)$/, '')}` };
}

function encodeString(name: string, text: string | undefined): Buffer {
  if (text === undefined) return Buffer.alloc(0);
  const bytes = Buffer.from(`${text}\0`, 'utf8');
  if (bytes.indexOf(0) !== bytes.length - 1) throw new RangeError(`${name} must not contain a NUL`);
  if (bytes.length > maxLauncherStringBytes) {
    throw new RangeError(`${name} must have at most ${maxLauncherStringBytes - 1} bytes`);
  }
  return bytes;
}

function encodeInherited(numbers: readonly number[]): Uint8Array {
  if (numbers.length > maxInherited) {
    throw new RangeError(`inherited must be at most ${maxInherited} descriptors, not ${numbers.length}`);
  }
  for (const number of numbers) {
    if (!Number.isInteger(number) || number < 0 || number > 0x7fffffff)
      throw new RangeError(`inherited must be numbers of descriptors, not ${number}`);
  }
  return new Uint8Array(Int32Array.from(numbers).buffer);
}

function encodeGroups(groups: readonly number[]): Uint8Array {
  if (groups.length > maxLauncherGroups) {
    throw new RangeError(`groups must be at most ${maxLauncherGroups}, not ${groups.length}`);
  }
  // A typed array has the machine's byte order, and sorts by value like the kernel.
  const sorted = Uint32Array.from(groups).sort();
  return new Uint8Array(sorted.buffer);
}
