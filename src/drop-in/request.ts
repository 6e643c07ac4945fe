/**
 * The meaning of a request in the program that has started `criu swrk`, and the request as the service is to read it. Pure.
 *
 * CRIU looks descriptors up in its peer, and a path in its own working directory. The service's peer is the drop-in, and its working
 * directory another. Numbers in inherit_fd and ps.fd are CRIU's own, so the drop-in has them under the same numbers.
 */
import { resolve } from 'node:path';
import { type PeerFdField, peerFdFields } from '../policy/option-table.ts';
import { requestTable } from '../policy/request-table.ts';
import { decodeRequest } from '../protocol/codec.ts';
import type { CriuReq } from '../protocol/messages.ts';
import { appendOverrides, type Overrides, replaceOptions } from '../protocol/rewrite.ts';

export interface Meaning {
  /** The type of the reply. */
  readonly answeredAs: number;
  /** Descriptors of the client's, by the options that name them. */
  readonly descriptors: readonly { readonly option: PeerFdField; readonly number: number }[];
  /** A directory that is named by its path alone. */
  readonly imagesDir?: string;
  /** The root of the tree that is dumped; `client` where the request names none. */
  readonly target?: number | 'client';
  /** Options with another value for the service. */
  readonly overrides: Overrides;
}

/** @param directory the working directory of the drop-in, which it has from its client. */
export function meaningOf({ type, opts }: CriuReq, directory: string): Meaning {
  const row = requestTable.get(type);
  const answeredAs = row?.answeredAs ?? type;
  if (!opts) return { answeredAs, descriptors: [], overrides: {} };
  const descriptors = peerFdFields.flatMap((option) => {
    const number = opts[option];
    return number == null || (option === 'images_dir_fd' && number === -1) ? [] : [{ option, number }];
  });
  const named = descriptors.some(({ option }) => option === 'images_dir_fd');
  return {
    answeredAs,
    descriptors,
    ...(opts.images_dir && !named ? { imagesDir: opts.images_dir } : {}),
    ...(row?.target ? { target: opts.pid ?? ('client' as const) } : {}),
    // CRIU reads it before it changes to its work directory, where all other paths begin.
    overrides: opts.config_file ? { config_file: resolve(directory, opts.config_file) } : {},
  };
}

/**
 * @param bytes a packet that decodeRequest accepts.
 * @returns the request with other values for some options. Fields that rpc.proto does not have stay.
 */
export function withValues(bytes: Buffer, overrides: Overrides): Buffer {
  if (Object.keys(overrides).length === 0) return bytes;
  // The service reads requests of users strictly: no option may come twice.
  return decodeRequest(bytes, 'strict').kind === 'request'
    ? replaceOptions(bytes, overrides)
    : appendOverrides(bytes, overrides);
}
