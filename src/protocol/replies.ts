/**
 * The replies that come from the service itself, shaped as CRIU shapes its own failing ones.
 *
 * A client must not find less in our reply than in CRIU's. libcriu reads resp->dump and resp->restore of a reply with
 * that type without asking whether they are there, so they always are (send_criu_dump_resp and send_criu_restore_resp
 * in cr-service.c send them with failures too), and it reads resp->notify of anything that calls itself NOTIFY, so no
 * refusal ever does.
 */

import { decodeResponse, encodeResponse } from './codec.ts';
import { type CriuResp, isReqType, ReqType } from './messages.ts';
import { WireReader, WireType } from './wire.ts';

/** The largest reply: older clients of CRIU read into a buffer of this size. */
export const MAX_REPLY_BYTES = 1024;

const ELLIPSIS = Buffer.from('…');
const CR_ERRMSG = 9;

/**
 * A failing reply to a request of a known type. `errno` is a positive number of errno(3), `message` a sentence for a
 * person, shortened to fit. EMPTY, NOTIFY and numbers that are no type are answered as EMPTY.
 */
export function refusal(type: number, errno: number, message: string): CriuResp {
  const reply: CriuResp = {
    type: isReqType(type) && type !== ReqType.NOTIFY ? type : ReqType.EMPTY,
    success: false,
    cr_errno: errno,
  };
  if (type === ReqType.DUMP) reply.dump = { restored: false };
  if (type === ReqType.RESTORE) reply.restore = { pid: -1 };

  // A C string ends at a NUL.
  const text = Buffer.from(message.replaceAll('\0', ''));
  reply.cr_errmsg = shorten(text, roomBeside(encodeResponse(reply).length)).toString();
  return reply;
}

/** A reply to something that is no request at all, as send_criu_err in cr-service.c answers it. */
export function invalid(errno: number, message: string): CriuResp {
  return refusal(ReqType.EMPTY, errno, message);
}

/** A failing reply of an engine's, with what CRIU's own words do not tell. */
export function withHint(reply: CriuResp, hint: string): CriuResp {
  const words = reply.cr_errmsg?.trim();
  return { ...reply, cr_errmsg: words ? `${words} (${hint})` : hint };
}

/**
 * Makes an engine's reply fit: a cr_errmsg that is too long is shortened and moves to the end, all other bytes stay as
 * they are. What is no criu_resp is returned as it came. Only a reply that is too long without its cr_errmsg stays too
 * long: what else is in it, the client may need.
 */
export function fitReply(bytes: Buffer): Buffer {
  if (bytes.length <= MAX_REPLY_BYTES) return bytes;
  if (decodeResponse(bytes, 'lenient').kind === 'malformed') return bytes;

  const kept: Buffer[] = [];
  let message: Buffer | undefined;
  const reader = new WireReader(bytes);
  while (reader.more) {
    const start = reader.position;
    reader.varint('tag');
    const number = reader.low >>> 3;
    const content = passValue(reader, reader.low & 7);
    // Of several the last one counts.
    if (number === CR_ERRMSG) message = bytes.subarray(content, reader.position);
    else kept.push(bytes.subarray(start, reader.position));
  }
  if (!message) return bytes;

  const rest = Buffer.concat(kept);
  const text = shorten(message, Math.max(0, roomBeside(rest.length)));
  return Buffer.concat([rest, lengthDelimited(CR_ERRMSG, text)]);
}

/** How many bytes of text fit into cr_errmsg beside so many bytes of other fields: its tag takes one, its length two. */
function roomBeside(otherBytes: number): number {
  return MAX_REPLY_BYTES - otherBytes - 3;
}

/** Cuts between two characters, never within one, and says so with an ellipsis. */
function shorten(text: Buffer, maxBytes: number): Buffer {
  if (text.length <= maxBytes) return text;
  let end = maxBytes - ELLIPSIS.length;
  if (end < 0) return Buffer.alloc(0);
  while (end > 0 && isContinuation(text[end]!)) end--;
  return Buffer.concat([text.subarray(0, end), ELLIPSIS]);
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}

/** Passes over a value and returns where its content starts. The bytes were decoded once, so this cannot fail. */
function passValue(reader: WireReader, wireType: number): number {
  if (wireType === WireType.FIXED64) return reader.take(8);
  if (wireType === WireType.FIXED32) return reader.take(4);
  const start = reader.position;
  reader.varint('value');
  return wireType === WireType.BYTES ? reader.take(reader.low) : start;
}

function lengthDelimited(number: number, content: Buffer): Buffer {
  const size = content.length;
  const length = size < 0x80 ? [size] : [(size & 0x7f) | 0x80, size >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | WireType.BYTES, ...length]), content]);
}
