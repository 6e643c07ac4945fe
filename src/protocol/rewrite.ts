/**
 * Our own values over a caller's, without touching a byte of what the caller sent.
 *
 * In protobuf a later scalar replaces an earlier one and embedded messages merge, in protobuf-c as in protobufjs. So the
 * engine gets the caller's bytes followed by a small criu_req with our values, and fields that this rpc.proto does not
 * know reach an engine that does.
 */

import { decodeRequest, encodeRequest } from './codec.ts';
import type { CriuOpts, CriuPageServerInfo } from './messages.ts';

/** Repeated fields cannot be replaced this way, only added to, so they are left out. */
type Scalars<T> = {
  readonly [K in keyof T as NonNullable<T[K]> extends string | number | boolean ? K : never]?: NonNullable<
    T[K]
  >;
};

/** Options by their names in criu_opts; those of `ps` merge with the caller's. File descriptors are those of the service. */
export type Overrides = Scalars<CriuOpts> & { readonly ps?: Scalars<CriuPageServerInfo> };

/** Our values in the place of those in a request that was encoded here, which is encoded anew. */
export function replaceOptions(ours: Uint8Array, overrides: Overrides): Buffer {
  const decoded = decodeRequest(ours, 'strict');
  if (decoded.kind === 'malformed') throw new TypeError(`This is no criu_req of ours: ${decoded.reason}`);
  const { message } = decoded;
  return encodeRequest({ ...message, opts: { images_dir_fd: -1, ...message.opts, ...overrides } });
}

/**
 * Returns the caller's request followed by our values for its options. `original` must be a packet that
 * decodeRequest(original, 'lenient') accepts; anything else is a mistake of ours and throws a TypeError.
 */
export function appendOverrides(original: Uint8Array, overrides: Overrides): Buffer {
  const decoded = decodeRequest(original, 'lenient');
  if (decoded.kind === 'malformed')
    throw new TypeError(`Only a valid criu_req can be rewritten: ${decoded.reason}`);

  const { type, opts } = decoded.message;
  const ours = encodeRequest({
    // Required fields must be said again. For images_dir_fd that is more than form: protobuf-c does not merge required
    // fields, so our opts without it would turn the caller's directory into -1.
    type,
    opts: { images_dir_fd: opts?.images_dir_fd ?? -1, ...overrides },
  });
  return Buffer.concat([original, ours]);
}
