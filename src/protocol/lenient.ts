/**
 * Decodes a packet as CRIU will read it.
 *
 * CRIU unpacks with protobuf-c, and protobufjs reads sloppy bytes differently. It hides enum values that it does not
 * know (type 1 followed by type 99 is DUMP to protobufjs, 99 to CRIU), skips a known field with a wrong wire type, and
 * keeps the bytes after a NUL in a string. A decision about a packet that the engine reads unchanged needs the engine's
 * view. So this decoder follows protobuf_c_message_unpack() of protobuf-c 1.4.1 (compared over a million packets):
 *
 * - A later scalar replaces an earlier one, repeated fields collect, an embedded message merges with the earlier one.
 * - A required field of an embedded message never merges: opts without images_dir_fd after opts with one mean -1.
 * - images_dir_fd, required but with a default, may be absent and is -1 then.
 * - Numbers lose their bits above the 32nd, enums keep any number.
 * - A bool is true if any bit of its bytes is set, and comes in any wire type.
 * - Unknown fields are skipped.
 * - Groups, a tag or a length of more than five bytes, field number 0, and a wrong wire type of anything but a bool make
 *   the whole packet unreadable.
 */

import * as generated from './generated/rpc.js';
import type { Field, MessageType } from './schema.ts';
import { FieldPath, WireError, WireReader, WireType, wireTypeName } from './wire.ts';

/** A message under construction: field names to values. */
type Draft = Record<string, unknown>;

export type LenientResult =
  | { readonly ok: true; readonly message: object }
  | { readonly ok: false; readonly reason: string };

/** protobuf-c reads at most this many bytes of a tag or a length. */
const MAX_HEADER_BYTES = 5;

/** Decodes one message of type `type` into an instance of its generated class. Never throws. */
export function decodeLeniently(type: MessageType, bytes: Uint8Array): LenientResult {
  const path = new FieldPath(type.name);
  try {
    return { ok: true, message: decodeMessage(type, new WireReader(bytes), path) };
  } catch (error) {
    if (error instanceof WireError) return { ok: false, reason: error.about(path.toString()) };
    throw error;
  }
}

/**
 * Decodes the bytes between the reader's position and its end into `draft`: an earlier occurrence of the same embedded message,
 * or a new message. Merging in place keeps the work linear, even for a packet that consists of nothing but opts.
 */
function decodeMessage(
  type: MessageType,
  reader: WireReader,
  path: FieldPath,
  draft = emptyMessage(type),
): Draft {
  const seen = new Set<Field>();
  const start = reader.position;

  while (reader.more) {
    const fieldStart = reader.position;
    reader.varint('tag', MAX_HEADER_BYTES);
    // Only the first byte is compared with 0: a longer spelling of 0 is an unknown field like any other.
    if (reader.bytes[fieldStart]! < 8) throw new WireError('has a tag without a field number', fieldStart);
    const field = type.fields.get(reader.high * 2 ** 29 + (reader.low >>> 3));
    const wireType = reader.low & 7;

    path.enter(field?.name ?? 'an unknown field');
    const raw = readRaw(reader, wireType, fieldStart);
    if (field) {
      seen.add(field);
      store(draft, field, raw, path);
    }
    path.leave();
  }

  for (const field of type.required) {
    if (seen.has(field)) continue;
    if (field.default === undefined) throw new WireError(`lacks ${field.name}, which is required`, start);
    // This holds even if an earlier occurrence had the field: merge_messages() keeps required fields of the later message.
    draft[field.name] = field.default;
  }
  return draft;
}

function emptyMessage(type: MessageType): Draft {
  const made: unknown = Reflect.get(generated, type.name).create();
  return made as Draft;
}

/** A value on the wire. Positions are counted from the start of the packet. */
interface RawValue {
  readonly fieldStart: number;
  readonly wireType: number;
  readonly low: number;
  readonly bytes: Uint8Array;
  /** Start of the value, including its length if there is one. */
  readonly start: number;
  /** Start of the content behind that length. */
  readonly content: number;
  readonly end: number;
}

function readRaw(reader: WireReader, wireType: number, fieldStart: number): RawValue {
  const start = reader.position;
  let content = start;
  switch (wireType) {
    case WireType.VARINT:
      reader.varint('value');
      break;
    case WireType.FIXED64:
      reader.take(8);
      break;
    case WireType.FIXED32:
      reader.take(4);
      break;
    case WireType.BYTES:
      reader.varint('length', MAX_HEADER_BYTES);
      if (reader.high !== 0) throw new WireError('has a length beyond 32 bits', start);
      content = reader.take(reader.low);
      break;
    default:
      throw new WireError(`comes as ${wireTypeName(wireType)}, which CRIU cannot read`, fieldStart);
  }
  return { fieldStart, wireType, low: reader.low, bytes: reader.bytes, start, content, end: reader.position };
}

function store(draft: Draft, field: Field, raw: RawValue, path: FieldPath): void {
  const earlier = Object.hasOwn(draft, field.name) ? draft[field.name] : undefined;
  if (field.label === 'repeated') {
    // The generated constructor gives each message its own arrays.
    (earlier as unknown[]).push(decodeValue(field, raw, path, undefined));
  } else {
    draft[field.name] = decodeValue(field, raw, path, earlier);
  }
}

function decodeValue(field: Field, raw: RawValue, path: FieldPath, earlier: unknown): unknown {
  const { kind } = field;
  if (kind.is === 'bool') return anyBitSet(raw);

  const expected = kind.is === 'string' || kind.is === 'message' ? WireType.BYTES : WireType.VARINT;
  if (raw.wireType !== expected) {
    throw new WireError(
      `comes as ${wireTypeName(raw.wireType)} where ${wireTypeName(expected)} is due`,
      raw.fieldStart,
    );
  }
  switch (kind.is) {
    case 'uint32':
      return raw.low;
    case 'int32':
    case 'enum':
      return raw.low | 0;
    case 'string':
      return decodeCString(raw);
    case 'message':
      return decodeMessage(
        kind.message,
        new WireReader(raw.bytes, raw.content, raw.end),
        path,
        earlier as Draft | undefined,
      );
  }
}

/** parse_boolean() of protobuf-c: it tests the lower seven bits of all bytes, including those of a length. */
function anyBitSet({ bytes, start, end }: RawValue): boolean {
  for (let at = start; at < end; at++) {
    if ((bytes[at]! & 0x7f) !== 0) return true;
  }
  return false;
}

/** A C string ends at its first NUL. Invalid UTF-8 becomes U+FFFD, because a JavaScript string cannot hold it. */
function decodeCString({ bytes, content, end }: RawValue): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + content, end - content);
  const nul = text.indexOf(0);
  return text.toString('utf8', 0, nul < 0 ? text.length : nul);
}
