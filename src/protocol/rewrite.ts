/**
 * Overrides options of a caller's request without changing the caller's bytes.
 *
 * In protobuf a later scalar replaces an earlier scalar, and embedded messages merge, in protobuf-c as in protobufjs. So the
 * engine gets the caller's bytes followed by a small criu_req with our values. Fields that this rpc.proto does not know still
 * reach an engine that knows them.
 */

import { decodeRequest, encodeRequest } from './codec.ts';
import type { CriuOpts, CriuPageServerInfo } from './messages.ts';

/** Repeated fields are left out: appended values would be added, not replaced. */
type Scalars<T> = {
  readonly [K in keyof T as NonNullable<T[K]> extends string | number | boolean ? K : never]?: NonNullable<
    T[K]
  >;
};

/** Options by their names in criu_opts; those of `ps` merge with the caller's. Descriptor numbers are the service's. */
export type Overrides = Scalars<CriuOpts> & { readonly ps?: Scalars<CriuPageServerInfo> };

/** Replaces options in a request that was encoded here, by encoding it anew. */
export function replaceOptions(ours: Uint8Array, overrides: Overrides): Buffer {
  const decoded = decodeRequest(ours, 'strict');
  if (decoded.kind === 'malformed') throw new TypeError(`This is no criu_req of ours: ${decoded.reason}`);
  const { message } = decoded;
  return encodeRequest({ ...message, opts: { images_dir_fd: -1, ...message.opts, ...overrides } });
}

/**
 * Returns the caller's request followed by our values for its options. Throws a TypeError unless decodeRequest(original,
 * 'lenient') accepts `original`, because then our own code is wrong.
 */
export function appendOverrides(original: Uint8Array, overrides: Overrides): Buffer {
  const decoded = decodeRequest(original, 'lenient');
  if (decoded.kind === 'malformed')
    throw new TypeError(`Only a valid criu_req can be rewritten: ${decoded.reason}`);

  const { type, opts } = decoded.message;
  const ours = encodeRequest({
    // Required fields must be repeated. images_dir_fd needs it most: protobuf-c does not merge required fields, so our opts
    // without it would turn the caller's directory into -1.
    type,
    opts: { images_dir_fd: opts?.images_dir_fd ?? -1, ...overrides },
  });
  return Buffer.concat([original, ours]);
}
