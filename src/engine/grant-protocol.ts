/** The packets between this service and criu-grant: the mirror of native/grant/protocol.h, which documents them. */
import { endianness } from 'node:os';
import type { Related } from '../policy/yama.ts';

const magic = 0x41525943;
const version = 2;
const littleEndian = endianness() === 'LE';

/** The descriptors that the program is started with; 0 to 2 are /dev/null. */
export const grantFds = { control: 3, callerProc: 4, rootProc: 5, engineProc: 6 } as const;

const parametersBytes = 40;
export const grantAnswerBytes = 32;
const flagNeedsConsent = 1;
const flagNameAll = 2;

export interface GrantParameters {
  /** Without a relation of the root to the caller the tree is left alone. */
  readonly needsRelation: boolean;
  /** For tests: processes that the caller could trace already are asked, too. */
  readonly namesAll?: true;
  /** The pid of the engine. */
  readonly engine: number;
  /** The caller: its pid, ids and capabilities. */
  readonly caller: number;
  readonly uid: number;
  readonly gid: number;
  /** Bit N is capability N. */
  readonly permitted: bigint;
  /** The pid of the root of the tree. */
  readonly root: number;
}

/** In the order of the numbers on the wire; native/grant/protocol.h has their meaning. */
export const grantFaults = [
  'none',
  'self',
  'parameters',
  'no-consent',
  'gone',
  'too-many',
  'late',
  'read',
  'foreign',
  'capable',
  'not-dumpable',
  'namespace',
  'traced',
  'seccomp',
  'dispatch',
  'compat',
  'no-code',
  'seize',
  'disturbed',
  'call',
  'registers',
  'sequence',
  'asker-ended',
] as const;

export type GrantFault = (typeof grantFaults)[number];

const relations: readonly Related[] = ['nothing', 'self', 'descendant', 'named'];

export interface GrantAnswer {
  /** `none`: the engine can trace every process of the tree. */
  readonly fault: GrantFault;
  readonly related: Related;
  /** The process that the fault is about; 0 for none. */
  readonly pid: number;
  /** errno, or 0. */
  readonly error: number;
  /** The number of processes that have named the engine, and of those that had named anybody before. */
  readonly named: number;
  readonly before: number;
}

/** @throws RangeError if the layout cannot hold a value; the message names the parameter. */
export function encodeGrantParameters(parameters: GrantParameters): Buffer {
  const packet = Buffer.alloc(parametersBytes);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const { engine, caller, root, uid, gid, permitted } = parameters;
  const words = {
    magic,
    version,
    flags: (parameters.needsRelation ? flagNeedsConsent : 0) | (parameters.namesAll ? flagNameAll : 0),
    engine,
    caller,
    root,
    uid,
    gid,
  };
  for (const [at, [name, value]] of Object.entries(words).entries()) {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
      throw new RangeError(`${name} must be an integer of 32 bits, not ${value}`);
    }
    view.setUint32(at * 4, value, littleEndian);
  }
  if (BigInt.asUintN(64, permitted) !== permitted) throw new RangeError('permitted must be a set of 64 bits');
  view.setBigUint64(32, permitted, littleEndian);
  return packet;
}

/** @throws RangeError for bytes that no program of this version sends. */
export function decodeGrantAnswer(packet: Uint8Array): GrantAnswer {
  if (packet.length !== grantAnswerBytes) {
    throw new RangeError(`An answer of criu-grant has ${grantAnswerBytes} bytes, not ${packet.length}`);
  }
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const word = (index: number): number => view.getUint32(index * 4, littleEndian);
  const fault = grantFaults[word(2)];
  const related = relations[word(3)];
  if (word(0) !== magic || word(1) !== version || fault === undefined || related === undefined) {
    throw new RangeError('criu-grant is of another version');
  }
  return { fault, related, pid: word(4), error: word(5), named: word(6), before: word(7) };
}
