/**
 * The wire scan: tells whether every parser reads a packet alike.
 *
 * The scan accepts a packet only if protobuf-c (the engine), protobufjs (this service) and every other parser read it alike: no
 * field unknown to rpc.proto, no singular field twice, no second spelling of a number or a length, and no bytes that one parser
 * drops and another believes. The order of the fields is free, because honest clients differ in it.
 *
 * A scan costs a few microseconds. Its recursion follows the nesting of rpc.proto (three messages), not the nesting that a packet
 * claims, because a field that rpc.proto does not nest is not entered.
 */

import { isUtf8 } from 'node:buffer';
import { criuReq, criuResp, type Field, type MessageType } from './schema.ts';
import { FieldPath, WireError, WireReader, WireType, wireTypeName } from './wire.ts';

/**
 * Many times the repeated fields of a request with a few options (mounts, namespaces, devices). Each entry becomes an object,
 * which takes a hundred times the size of an empty entry on the wire.
 */
const maxEntries = 256;

/** `reason` is a sentence with the field and the byte: "opts.images_dir_fd (byte 12) is given twice". */
export type ScanResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

const passed: ScanResult = { ok: true };

/** Scans a packet that should hold a criu_req. Never throws. */
export function scanRequest(bytes: Uint8Array): ScanResult {
  return scan(criuReq, bytes);
}

/** Scans a packet that should hold a criu_resp. Never throws. */
export function scanResponse(bytes: Uint8Array): ScanResult {
  return scan(criuResp, bytes);
}

function scan(message: MessageType, bytes: Uint8Array): ScanResult {
  const path = new FieldPath(message.name);
  try {
    scanMessage(message, new WireReader(bytes), path, { entries: 0 });
    return passed;
  } catch (error) {
    if (error instanceof WireError) return { ok: false, reason: error.about(path.toString()) };
    throw error;
  }
}

/** Counts of the packet so far. */
interface Count {
  entries: number;
}

function scanMessage(message: MessageType, reader: WireReader, path: FieldPath, count: Count): void {
  const seen = new Set<Field>();
  const start = reader.position;

  while (reader.more) {
    const fieldStart = reader.position;
    const [number, wireType] = readTag(reader);
    const field = message.fields.get(number);
    if (!field) throw new WireError(`has a field ${number}, which ${message.name} does not have`, fieldStart);

    path.enter(field.name);
    if (field.label !== 'repeated' && seen.has(field)) throw new WireError('is given twice', fieldStart);
    seen.add(field);
    if (field.label === 'repeated') count.entries += 1;
    if (count.entries > maxEntries) {
      throw new WireError(`is one entry too many: a request may have ${maxEntries} in its lists`, fieldStart);
    }
    scanValue(field, wireType, fieldStart, reader, path, count);
    path.leave();
  }

  for (const field of message.required) {
    if (!seen.has(field)) throw new WireError(`lacks ${field.name}, which is required`, start);
  }
}

function readTag(reader: WireReader): [number: number, wireType: number] {
  const start = reader.position;
  readMinimal(reader, 'tag');
  const number = reader.low >>> 3;
  // Beyond 29 bits protobuf-c sees another number than protobufjs, which drops the upper half.
  if (number === 0 || reader.high !== 0) throw new WireError('has a tag without a valid field number', start);
  return [number, reader.low & 7];
}

function readMinimal(reader: WireReader, what: string): void {
  const start = reader.position;
  reader.varint(what);
  if (!reader.minimal) throw new WireError(`has a ${what} that is not in its shortest form`, start);
}

function scanValue(
  field: Field,
  wireType: number,
  start: number,
  reader: WireReader,
  path: FieldPath,
  count: Count,
): void {
  const isBytes = field.kind.is === 'string' || field.kind.is === 'message';
  const expected = isBytes ? WireType.BYTES : WireType.VARINT;
  if (wireType !== expected) {
    throw new WireError(`comes as ${wireTypeName(wireType)} where ${wireTypeName(expected)} is due`, start);
  }
  if (isBytes) scanBytes(field, reader, path, count);
  else scanNumber(field, reader);
}

function scanBytes(field: Field, reader: WireReader, path: FieldPath, count: Count): void {
  const start = reader.position;
  readMinimal(reader, 'length');
  if (reader.high !== 0) throw new WireError('has a length beyond 32 bits', start);
  const content = reader.take(reader.low);

  if (field.kind.is === 'message') {
    scanMessage(field.kind.message, new WireReader(reader.bytes, content, reader.position), path, count);
    return;
  }
  const text = reader.bytes.subarray(content, reader.position);
  if (!isUtf8(text)) throw new WireError('is not valid UTF-8', content);
  // A C string ends there: the engine would read less than this service.
  const nul = text.indexOf(0);
  if (nul >= 0) throw new WireError('has a NUL in it', content + nul);
}

function scanNumber(field: Field, reader: WireReader): void {
  const start = reader.position;
  readMinimal(reader, 'value');
  const { low, high } = reader;

  switch (field.kind.is) {
    case 'bool':
      if (high !== 0 || low > 1) throw new WireError('is a bool other than 0 and 1', start);
      break;
    case 'uint32':
      if (high !== 0) throw new WireError('is out of the range of a uint32', start);
      break;
    case 'int32':
      if (!isInt32(low, high)) throw new WireError('is out of the range of an int32', start);
      break;
    case 'enum':
      if (!isInt32(low, high) || !field.kind.enum.names.has(low | 0)) {
        throw new WireError(`is no value of ${field.kind.enum.name}`, start);
      }
      break;
  }
}

/** Negative numbers are sign-extended to 64 bits on the wire, so their shortest form has ten bytes. */
function isInt32(low: number, high: number): boolean {
  return high === (low >= 0x80000000 ? 0xffffffff : 0);
}
