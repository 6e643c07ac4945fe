/**
 * The service's own replies, shaped like CRIU's failing replies.
 *
 * A client must find everything in our reply that it would find in CRIU's. libcriu reads resp->dump and resp->restore of a reply
 * with that type without a check, so they are always present (send_criu_dump_resp and send_criu_restore_resp in cr-service.c send
 * them with failures too). libcriu reads resp->notify of every reply of type NOTIFY, so a refusal never has that type.
 */

import { decodeResponse, encodeResponse } from './codec.ts';
import { readFields, type WireField, writeFields } from './fields.ts';
import { type CriuResp, isReqType, ReqType } from './messages.ts';

/** The largest reply, because older clients of CRIU read into a buffer of this size. */
export const MAX_REPLY_BYTES = 1024;

const ELLIPSIS = Buffer.from('…');
const CR_ERRNO = 7;
const CR_ERRMSG = 9;

/**
 * A failing reply to a request of a known type. `errno` is a positive number of errno(3). `message` is a sentence for a person,
 * shortened to fit. The reply to EMPTY, NOTIFY and unknown numbers has the type EMPTY.
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

/** A reply to a packet that is not a request, as send_criu_err in cr-service.c answers it. */
export function invalid(errno: number, message: string): CriuResp {
  return refusal(ReqType.EMPTY, errno, message);
}

/** An engine's failing reply, with a reason that CRIU's own words do not tell. */
export function withHint(reply: CriuResp, hint: string): CriuResp {
  const words = reply.cr_errmsg?.trim();
  return { ...reply, cr_errmsg: words ? `${words} (${hint})` : hint };
}

/** The beginning of cr_errmsg in a successful reply with a warning of the service's. CRIU sends its first error line there. */
export const warningPrefix = 'warning: ';

/** An engine's successful reply, with a warning. Clients of CRIU do not look at cr_errmsg of a success. */
export function withWarning(reply: CriuResp, warning: string): CriuResp {
  return { ...reply, cr_errmsg: `${warningPrefix}${warning}` };
}

/**
 * Makes an engine's reply fit: a long cr_errmsg is shortened and moves to the end, and all other bytes stay the same. A packet
 * that is not a criu_resp is returned unchanged. A reply that is too long without its cr_errmsg stays too long, because the
 * client may need its other fields.
 */
export function fitReply(bytes: Buffer): Buffer {
  if (bytes.length <= MAX_REPLY_BYTES) return bytes;
  if (decodeResponse(bytes, 'lenient').kind === 'malformed') return bytes;

  const fields = readFields(bytes);
  // If there are several, the last counts.
  const message = fields.findLast(({ number }) => number === CR_ERRMSG)?.value as Uint8Array | undefined;
  if (!message) return bytes;
  const kept = fields.filter(({ number }) => number !== CR_ERRMSG);
  const room = roomBeside(writeFields(kept).length);
  const text = shorten(Buffer.from(message), Math.max(0, room));
  return Buffer.from(writeFields([...kept, { number: CR_ERRMSG, value: text }]));
}

/** An engine's failing reply with other words. All other fields keep their bytes. */
export function reworded(bytes: Buffer, message: string, errno?: number): Buffer {
  const words: WireField[] = [{ number: CR_ERRMSG, value: Buffer.from(message) }];
  if (errno !== undefined) words.unshift({ number: CR_ERRNO, value: errno });
  const kept = readFields(bytes).filter((field) => !words.some(({ number }) => number === field.number));
  return Buffer.from(writeFields([...kept, ...words]));
}

/** Bytes of text that fit into cr_errmsg beside `otherBytes` bytes of other fields: the tag takes one byte, the length two. */
function roomBeside(otherBytes: number): number {
  return MAX_REPLY_BYTES - otherBytes - 3;
}

/** Cuts between two characters and marks the cut with an ellipsis. */
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
