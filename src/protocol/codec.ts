/**
 * Converts packets to messages and back. No bytes make these functions throw.
 *
 * `strict` is for packets of untrusted senders: it decodes only packets that every parser reads alike (strict.ts). `lenient`
 * reads a packet as CRIU itself would (lenient.ts). It is for callers with every right, and for replies of engines that may be
 * newer than rpc.proto.
 */

import { criu_req, criu_resp } from './generated/rpc.js';
import { decodeLeniently } from './lenient.ts';
import type { CriuReq, CriuResp } from './messages.ts';
import { criuReq, criuResp, type MessageType } from './schema.ts';
import { type ScanResult, scanRequest, scanResponse } from './strict.ts';

export type DecodeMode = 'lenient' | 'strict';

/** `reason` is a sentence that names the field and the byte. */
export interface Malformed {
  readonly kind: 'malformed';
  readonly reason: string;
}

/** In lenient mode `message.type` may be a number outside ReqType: call isReqType. */
export type DecodedRequest = { readonly kind: 'request'; readonly message: CriuReq } | Malformed;
export type DecodedResponse = { readonly kind: 'response'; readonly message: CriuResp } | Malformed;

export function decodeRequest(bytes: Uint8Array, mode: DecodeMode): DecodedRequest {
  const decoded =
    mode === 'strict' ? strictly(criu_req, scanRequest(bytes), bytes) : leniently<CriuReq>(criuReq, bytes);
  return decoded.kind === 'malformed' ? decoded : { kind: 'request', message: decoded.message };
}

export function decodeResponse(bytes: Uint8Array, mode: DecodeMode): DecodedResponse {
  const decoded =
    mode === 'strict'
      ? strictly(criu_resp, scanResponse(bytes), bytes)
      : leniently<CriuResp>(criuResp, bytes);
  return decoded.kind === 'malformed' ? decoded : { kind: 'response', message: decoded.message };
}

/** Fields are written in the order of their numbers; absent fields are left out. */
export function encodeRequest(message: CriuReq): Buffer {
  return asBuffer(criu_req.encode(message).finish());
}

export function encodeResponse(message: CriuResp): Buffer {
  return asBuffer(criu_resp.encode(message).finish());
}

type Decoded<T> = { readonly kind: 'decoded'; readonly message: T } | Malformed;

function strictly<T>(
  type: { decode(bytes: Uint8Array): T },
  scanned: ScanResult,
  bytes: Uint8Array,
): Decoded<T> {
  if (!scanned.ok) return { kind: 'malformed', reason: scanned.reason };
  try {
    return { kind: 'decoded', message: type.decode(bytes) };
  } catch (error) {
    // protobufjs accepts all packets that pass the scan. If that ever fails, refuse the packet.
    return { kind: 'malformed', reason: `protobufjs cannot read it: ${error}` };
  }
}

function leniently<T>(type: MessageType, bytes: Uint8Array): Decoded<T> {
  const decoded = decodeLeniently(type, bytes);
  // The decoder builds an instance of the generated class of `type`.
  return decoded.ok
    ? { kind: 'decoded', message: decoded.message as T }
    : { kind: 'malformed', reason: decoded.reason };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
